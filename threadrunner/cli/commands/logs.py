"""The daemon's log: the newest daily file, and what is added to it."""

from __future__ import annotations

import os
import time

from threadrunner import exits, paths
from threadrunner.cli import render
from threadrunner.cli.arguments import COUNT, Parser
from threadrunner.cli.flags import UsageError
from threadrunner.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_READ = 1 << 16
_TAIL_LINES = 10

# The standard library has no inotify, and kqueue only on the BSDs. A reader does not notice a quarter of a second, and
# four stat calls per second cost the machine nothing.
_POLL_SECONDS = 0.25


def arguments(parser: Parser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="continue with what is written from now on")
    parser.add_argument("-n", "--lines", metavar="N", type=COUNT, help="only the last N lines")


def run(options: Namespace) -> int:
    path = newest()
    if path is None and not options.follow:
        raise UsageError(
            f"nothing was logged in {paths.cache_dir()} yet; what goes wrong is, and more by the option `log`, say "
            "THREADRUNNER_LOG=info when the daemon is started"
        )
    lines = options.lines if options.lines is not None else _TAIL_LINES if options.follow else None
    reader = _Reader(path, lines)
    reader.copy()
    while options.follow:
        time.sleep(_POLL_SECONDS)
        reader.copy()
        reader.switch(newest())
    return exits.OK


def newest() -> str | None:
    """The latest daily file; dates sort as text."""
    try:
        names = os.listdir(paths.cache_dir())
    except OSError:
        return None
    logs = [name for name in names if name.startswith(paths.LOG_PREFIX) and name.endswith(paths.LOG_SUFFIX)]
    return os.path.join(paths.cache_dir(), max(logs)) if logs else None


class _Reader:
    """Copies a growing file to standard output, and changes to the next one at midnight, or when another file has its
    name, or it has been truncated."""

    def __init__(self, path: str | None, lines: int | None) -> None:
        self._terminal = os.isatty(1)
        self._path, self._fd = path, -1
        if path is not None:
            self._open(path)
            if lines is not None:
                os.lseek(self._fd, _tail_start(self._fd, lines), os.SEEK_SET)

    def copy(self) -> None:
        while self._fd >= 0 and (data := os.read(self._fd, _READ)):
            if self._terminal:
                render.put(1, render.printable(data.decode("utf-8", "replace")))
            else:
                while data:
                    data = data[os.write(1, data) :]
        # Where nothing is logged nothing is written, so a reader that has gone is noticed here.
        if self._fd >= 0 and not self._terminal and files.has_lost_reader(1):
            raise BrokenPipeError

    def switch(self, path: str | None) -> None:
        """Continue with the file at `path`; None, as when the folder is empty, changes nothing."""
        if path is None:
            return
        if path != self._path or self._fd < 0:
            self._open(path)
            return
        try:
            facts = os.stat(path)
        except FileNotFoundError:
            return
        if facts.st_ino != os.fstat(self._fd).st_ino:
            self._open(path)
        elif facts.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            os.lseek(self._fd, 0, os.SEEK_SET)

    def _open(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY)
        if self._fd >= 0:
            os.close(self._fd)
        self._path, self._fd = path, fd


def _tail_start(fd: int, lines: int) -> int:
    """The offset, in bytes, at which the last `lines` lines begin."""
    end = os.fstat(fd).st_size
    if lines == 0:
        return end
    missing = lines + 1  # newlines: the one before these lines counts too
    if end and files.pread(fd, 1, end - 1) != b"\n":
        missing -= 1
    start = end
    while start > 0:
        stop, start = start, max(0, start - _READ)
        block = files.pread(fd, stop - start, start)
        found = block.count(b"\n")
        if found >= missing:
            place = len(block)
            for _ in range(missing):
                place = block.rindex(b"\n", 0, place)
            return start + place + 1
        missing -= found
    return 0
