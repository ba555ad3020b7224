"""The daemon's log: the newest daily file, and what is added to it."""

from __future__ import annotations

import os
import time

from threadrunner import exits, paths
from threadrunner.cli import render
from threadrunner.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

_PREFIX, _SUFFIX = "threadrunner-daemon-", ".log"
_READ = 1 << 16
_TAIL = 10

# The standard library has no inotify, and kqueue only on the BSDs. A quarter of a second is not felt by a reader, and
# four stat calls a second are nothing to the machine.
_POLL_SECONDS = 0.25


def run(options: Namespace) -> int:
    path = newest()
    if path is None and not options.follow:
        raise UsageError(f"there is no log in {paths.cache_dir()} yet; the daemon writes one when it starts")
    lines = options.lines if options.lines is not None else _TAIL if options.follow else None
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
        names = [name for name in os.listdir(paths.cache_dir()) if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
    except OSError:
        return None
    return os.path.join(paths.cache_dir(), max(names)) if names else None


class _Reader:
    """Copies a growing file to standard output, and goes over to the next one at midnight, or when the file that has
    its name is another or has been cut."""

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
        # Nothing is written in a silent hour, so a reader that went away is noticed here.
        if self._fd >= 0 and not self._terminal:
            import select

            poll = select.poll()
            poll.register(1, 0)
            if poll.poll(0):
                raise BrokenPipeError

    def switch(self, path: str | None) -> None:
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
    """Where the last `lines` lines begin."""
    end = os.fstat(fd).st_size
    if lines == 0:
        return end
    at, wanted = end, lines + 1  # the newline before them counts too
    if end and os.pread(fd, 1, end - 1) != b"\n":
        wanted -= 1
    while at > 0:
        start = max(0, at - _READ)
        block = os.pread(fd, at - start, start)
        found = block.count(b"\n")
        if found >= wanted:
            place = len(block)
            for _ in range(wanted):
                place = block.rindex(b"\n", 0, place)
            return start + place + 1
        wanted -= found
        at = start
    return 0
