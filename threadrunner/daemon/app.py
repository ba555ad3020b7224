"""`threadrunner daemon`: everything before and after the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator

from threadrunner import __version__, config, exits, paths, processes
from threadrunner.daemon import inherited
from threadrunner.daemon import log as daemon_log
from threadrunner.daemon.server import DaemonServer

log = logging.getLogger("threadrunner.daemon")

PREDECESSOR = 10  # seconds to wait for a daemon whose socket is gone: ending, it is gone itself after a moment


class CannotStart(Exception):
    """The daemon cannot start; the text says why and what to do."""


def run(ready_fd: int | None = None) -> int:
    """Serve until stopped; returns the exit code.

    `ready_fd` is a pipe's end: it is told `ready` once clients can connect, or else why that will not be.
    """
    tell = _ReadySignal(ready_fd)
    inherited.shed(of_a_shell=ready_fd is not None)
    try:
        _serve(tell)
    except (CannotStart, config.ConfigError, paths.PathError, OSError) as error:
        tell(f"{error}\n")
        print(f"threadrunner: {error}", file=sys.stderr)
        return exits.CONNECTION
    return exits.OK


class _ReadySignal:
    """Writes one text to the process that started us, at most once."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def __call__(self, text: str) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._fd, text.encode("utf-8", "backslashreplace"))
                os.close(self._fd)
            self._fd = None


def _serve(tell: Callable[[str], None]) -> None:
    options = config.load()
    # Made private, but used as they are if they exist: people make one to put a model in. What must be private in any
    # case (logs, KV files, the socket) has its own mode.
    for folder in (paths.home(), paths.models_dir(), paths.cache_dir()):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as held:
        sock = _socket(held)
        file = daemon_log.begin(paths.cache_dir(), options)
        log.info("threadrunner %s, home %s", __version__, paths.home())
        server = DaemonServer(options, sock, paths.models_dir(), paths.cache_dir(), lambda: str(file.path))
        gc.freeze()  # imports are not garbage: keep them out of every collection, which would stall a token
        asyncio.run(server.run(lambda: tell("ready\n")))


def _socket(held: contextlib.ExitStack) -> socket.socket:
    """The socket to listen on; what belongs to it is given back when `held` closes. Raises CannotStart."""
    if (inherited := _from_systemd()) is not None:
        held.enter_context(inherited)
        held.enter_context(_lock(inherited.getsockname()))  # shells read pid and version from it
        return inherited
    path = paths.socket_path()
    paths.private_dir(os.path.dirname(path))
    held.enter_context(_lock(path))
    return held.enter_context(_bind(path))


def _from_systemd() -> socket.socket | None:
    """The socket that systemd passes as file descriptor 3 (sd_listen_fds(3)), if it does."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if os.environ.get("LISTEN_FDS") != "1":
        raise CannotStart("systemd must pass exactly one socket: one ListenStream= in the .socket unit")
    sock = socket.socket(fileno=3)
    if sock.family != socket.AF_UNIX:
        raise CannotStart("the socket from systemd is not a Unix socket: ListenStream= must be a path")
    return sock


@contextlib.contextmanager
def _lock(path: str) -> Iterator[None]:
    """Hold `<socket>.lock` for the daemon's life, with pid and version in it for clients."""
    with open(os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _answers(path):
                owner = file.read(64).decode(errors="replace").split(" ")[0]
                text = f"a daemon (pid {owner}) serves {path} already; `threadrunner stop` ends it"
                raise CannotStart(text) from None
            _wait_for(file.fileno(), path)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()} {__version__}\n".encode())
        yield
        # The file stays: removing a file that others may be waiting to lock would let two daemons in.


def _wait_for(fd: int, path: str) -> None:
    """Wait for a daemon that no longer answers to let go of its lock."""

    def too_long(*_: object) -> None:
        pid = processes.daemon(path)
        how = f"`kill {pid}` ends it in order" if pid else "its process cannot be seen from here: end it where it runs"
        raise CannotStart(f"a daemon that does not listen any more holds {path}.lock; {how}")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(PREDECESSOR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _bind(path: str) -> socket.socket:
    """A bound socket that only we may use. A stale one is found out by connecting to it, never by its age."""
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # the socket is never open to others, not even for a moment
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if not stat.S_ISSOCK(os.lstat(path).st_mode):  # connecting to a plain file is refused too
                raise CannotStart(f"{path} is a file, not a socket of ours; move it away") from None
            if _answers(path):
                text = f"something else listens on {path}; set THREADRUNNER_SOCKET to another place"
                raise CannotStart(text) from None
            os.unlink(path)
            sock.bind(path)
    finally:
        os.umask(before)
    return sock


def _answers(path: str) -> bool:
    """Whether a process listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True
