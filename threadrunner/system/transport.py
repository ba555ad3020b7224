"""The way to the daemon: a Unix socket; where the system has none, the loopback (loopback.py).

Each prompt imports this: the standard library's lightest parts only.
"""

from __future__ import annotations

import _socket  # the C part of `socket`, whose Python part costs 4 ms for enums and selectors that nothing here uses
import os
import select
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLE = "THREADRUNNER_TRANSPORT"
_EINVAL = 22  # of every system; `errno` is one import more


class NotOurs(Exception):
    """Another user's process answers; the text says which."""


def is_loopback() -> bool:
    """Whether the daemon is reached over the loopback. The variable is for trying that where there are Unix sockets.

    Raises OSError for a value that it does not have.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted and wanted != "loopback":
        raise OSError(_EINVAL, f"{VARIABLE} is {wanted!r}; it can be `loopback`, or unset")
    return sys.platform == "win32" or bool(wanted)


def connect(path: str, seconds: int) -> _socket.socket:
    """A connection to what serves `path`, proved to be this user's; blocking, and sending gives up after `seconds`.

    Raises FileNotFoundError or ConnectionRefusedError where no process listens; BlockingIOError or TimeoutError where
    one does and takes no client in; NotOurs; OSError.
    """
    if sys.platform == "win32" or is_loopback():
        return _over_loopback(path, seconds)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        _connect(sock, path, seconds)
        # Another user's process behind our path, e.g. in /tmp, would be given our prompts.
        if (uid := peer_uid(sock)) != os.getuid():
            raise NotOurs(f"uid {uid}")
    except BaseException:
        sock.close()
        raise
    return sock


def _over_loopback(path: str, seconds: int) -> _socket.socket:
    from threadrunner.system import loopback

    try:
        sock = loopback.connect(path)
    except loopback.ForeignEndpoint as other:
        raise NotOurs(str(other)) from None
    limit_sending(sock, seconds)
    return sock


def _connect(sock: _socket.socket, path: str, seconds: int) -> None:
    """A daemon that does not accept fills its backlog, and then connect() would block for good. A timeout of Python's
    own would not do: it makes the socket non-blocking, and a full backlog an error at once."""
    if sys.platform != "linux":
        sock.connect(path)
    limit_sending(sock, seconds)  # it stays: a daemon that reads nothing would hold a long request in the same way
    if sys.platform == "linux":
        sock.connect(path)


def limit_sending(sock: _socket.socket, seconds: int) -> None:
    """Have `send` fail with BlockingIOError (Windows: TimeoutError) where nothing moves for that long."""
    if sys.platform == "win32":
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("@L", seconds * 1000))
    else:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("@ll", seconds, 0))


def peer_uid(sock: _socket.socket) -> int:
    """The user id of the process at the other end of a connected Unix socket. Raises OSError."""
    if sys.platform == "win32":
        raise OSError("a socket tells no user here")
    if sys.platform == "linux":
        credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("@iII"))
        return int(struct.unpack("@iII", credentials)[1])  # struct ucred: pid, uid, gid
    sol_local, local_peercred = 0, 1  # macOS
    credentials = sock.getsockopt(sol_local, local_peercred, struct.calcsize("@2I"))
    return int(struct.unpack("@2I", credentials)[1])  # the start of struct xucred: version, uid


def peer_pid(sock: _socket.socket) -> int:
    """The pid of the process at the other end of a connected Unix socket, as our own namespace counts.

    0 where the kernel does not say, or the process cannot be seen from here.
    """
    try:
        if sys.platform == "win32" or sock.family != _socket.AF_UNIX:
            return 0
        if sys.platform == "linux":
            credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("@iII"))
            return int(struct.unpack("@iII", credentials)[0])
        sol_local, local_peerpid = 0, 2  # macOS
        return int.from_bytes(sock.getsockopt(sol_local, local_peerpid, 4), sys.byteorder)
    except OSError:
        return 0


class Readable:
    """Waits for something to read on a connection, and meanwhile for the end of a reader of ours."""

    def __init__(self, sock: _socket.socket) -> None:
        self._fd = sock.fileno()
        self._watched: int | None = None
        if sys.platform != "win32":
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)

    def wait(self, seconds: float | None, watch: int | None = None) -> bool:
        """Whether there is something to read within the time. Raises BrokenPipeError as soon as `watch`, a descriptor
        that is written to, has lost its reader; Windows tells that at the next write only."""
        if sys.platform == "win32":
            return bool(select.select([self._fd], [], [], seconds)[0])
        if watch != self._watched:
            if self._watched is not None:
                self._poll.unregister(self._watched)
            if watch is not None:
                self._poll.register(watch, 0)  # POLLERR and POLLHUP are reported without being asked for
            self._watched = watch
        ready: Sequence[tuple[int, int]] = self._poll.poll(None if seconds is None else seconds * 1e3)
        for fd, _ in ready:
            if fd == watch:
                raise BrokenPipeError("the reader of the answer has gone")
        return bool(ready)
