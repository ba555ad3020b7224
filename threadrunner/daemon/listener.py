"""The daemon's socket: found or made, locked, and put back where a tidy-up has removed it.

There is one daemon for a socket's path because `<socket>.lock` is locked for the daemon's life; the kernel lets go of
it when the daemon ends. Of the files at those two paths only what is ours, by device and inode, is ever removed.
"""

from __future__ import annotations

import contextlib
import os
import time

from threadrunner import __version__, activation, paths, processes
from threadrunner.system import files, listening, locks, signals

PREDECESSOR = 10  # seconds to wait for a daemon that is ending, or that puts its socket back; a shell waits for 30
LOOK_AGAIN = 0.05  # seconds


class CannotStart(Exception):
    """The daemon cannot start, or cannot go on; the text says why and what to do."""


Identity = tuple[int, int] | None
"""A file's device and inode; None: no such file."""


class DaemonSocket:
    """A bound socket of ours and its lock. Closing it removes the socket's file, if it is ours."""

    def __init__(self) -> None:
        """Raises CannotStart, paths.PathError, OSError."""
        inherited = _from_systemd()
        self._inherited = inherited is not None
        self.path = paths.socket_path() if inherited is None else str(inherited.listener.getsockname())
        if inherited is None:
            paths.private_dir(os.path.dirname(self.path))
        self._lock = _Lock(self.path)
        try:
            self.door = _bind(self.path) if inherited is None else inherited
        except BaseException:
            self._lock.close()
            raise
        self._bound = _identity(self.path)

    def __repr__(self) -> str:
        return f"<DaemonSocket {self.path}>"

    @property
    def in_place(self) -> bool:
        """Whether a client that looks for a daemon at our path finds us: two stat calls."""
        return self._lock.in_place and _identity(self.path) == self._bound is not None

    def restore(self) -> bool:
        """Put back what has been removed; True where `door` is another one now. Raises CannotStart where another
        process has taken the place, PathError or OSError where the folder cannot be used."""
        if self._inherited and _identity(self.path) is not None:
            raise CannotStart(f"{self.path} is another socket now; the next connection starts another daemon")
        paths.private_dir(os.path.dirname(self.path))
        if not self._lock.in_place:
            fresh = _Lock(self.path, wait=False)
            self._lock.close()
            self._lock = fresh
        if _identity(self.path) == self._bound is not None:
            return False
        fresh_door = _bind(self.path)
        self.door.listener.close()
        self.door, self._bound, self._inherited = fresh_door, _identity(self.path), False
        return True

    def remove(self) -> None:
        """Remove the socket's file, so that clients look for another daemon. systemd keeps listening on one of its own,
        and starts us again."""
        if not self._inherited and self._lock.in_place and _identity(self.path) == self._bound:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def close(self) -> None:
        self.remove()
        self.door.listener.close()
        self._lock.close()


class _Lock:
    """`<socket>.lock`, locked, with pid and version in it for clients.

    Its file stays when it is closed: removing a file that others may be waiting to lock would let two daemons in.
    """

    def __init__(self, socket_path: str, wait: bool = True) -> None:
        """Raises CannotStart where another daemon has it; OSError."""
        self._path = f"{socket_path}.lock"
        self._file = open(os.open(self._path, os.O_RDWR | os.O_CREAT | files.OWN, 0o600), "r+b", buffering=0)  # noqa: SIM115
        try:
            if not locks.try_hold(self._file):
                self._wait_for_predecessor(socket_path, PREDECESSOR if wait else 0)
            self._file.truncate(0)
            self._file.write(f"{os.getpid()} {__version__}\n".encode())
        except BaseException:
            self._file.close()
            raise

    @property
    def in_place(self) -> bool:
        """Whether the file that is locked is still the one with that name."""
        facts = os.fstat(self._file.fileno())
        return _identity(self._path) == (facts.st_dev, facts.st_ino)

    def close(self) -> None:
        self._file.close()

    def _wait_for_predecessor(self, socket_path: str, seconds: float) -> None:
        """Until it has let go of the lock. One whose socket was removed is told to put it back, unless it is of another
        version, which might die of the signal.

        Either may happen, a lock that is free or a socket that answers, and no call waits for both: this looks again
        and again for the moment that it takes.
        """
        version = self._file.read(64).decode(errors="replace").strip().partition(" ")[2]
        pid = processes.daemon(socket_path)  # verified: the number in the file may be another process's by now
        if pid and version == __version__ and not os.path.lexists(socket_path):
            signals.look(pid)
        until = time.monotonic() + seconds
        while not locks.try_hold(self._file):
            if listening.answers(socket_path):
                known = f" (pid {pid})" if pid else ""
                raise CannotStart(f"a daemon{known} serves {socket_path} already; `threadrunner stop` ends it")
            if time.monotonic() >= until:
                raise CannotStart(f"the previous daemon has not exited; {processes.remedy(pid)}")
            time.sleep(LOOK_AGAIN)
        self._file.seek(0)


def _from_systemd() -> listening.Door | None:
    """Raises CannotStart."""
    try:
        passed = activation.passed_socket()
    except activation.BadActivation as error:
        raise CannotStart(str(error)) from None
    if passed is None:
        return None
    door = listening.inherited(passed)
    if door is None:
        raise CannotStart("the socket from systemd is not a Unix socket: ListenStream= must be a path")
    return door


def _bind(path: str) -> listening.Door:
    """Raises CannotStart, OSError."""
    try:
        return listening.bind(path)
    except listening.Occupied as error:
        raise CannotStart(str(error)) from None


def _identity(path: str) -> Identity:
    try:
        facts = os.lstat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
