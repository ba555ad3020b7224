"""The daemon's end of the transport: the socket that it listens on, and who is let in."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import stat
import sys
from typing import NamedTuple

from threadrunner.system import files, loopback, this_process, transport


class Occupied(Exception):
    """Something else is at the path; the text says what."""


class Door(NamedTuple):
    """What is listened on, and how those who come prove that they are ours."""

    listener: socket.socket
    endpoint: loopback.Endpoint | None
    """Of the loopback; a Unix socket tells the user of each client by itself."""

    async def admits(self, client: socket.socket) -> str:
        """Empty for a process of this user's, else what to say of it; the client is non-blocking. Not one byte more is
        read than the proof has. Raises OSError, EOFError, TimeoutError."""
        if self.endpoint is not None:
            async with asyncio.timeout(loopback.GREETING_SECONDS):
                return await _greeted(client, self.endpoint)
        uid = transport.peer_uid(client)
        return "" if uid == this_process.uid() else f"a client of uid {uid}"


def bind(path: str) -> Door:
    """A bound socket that only we may use; a stale one in its place is found out by connecting to it, never by its age.

    Raises Occupied, OSError.
    """
    if sys.platform == "win32" or transport.is_loopback():
        return _bind_loopback(path)
    made = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # the socket is never open to others, not even for a moment
    try:
        try:
            made.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if found := wrong_at(path):  # connecting to a plain file is refused too
                raise Occupied(f"{path} is {found}; move it away") from None
            _check_stale(path)
            os.unlink(path)
            made.bind(path)
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(before)
    return Door(made, None)


def wrong_at(path: str) -> str:
    """What is at the path in place of what a daemon makes there; empty where nothing is wrong."""
    if not os.path.lexists(path):
        return ""
    mode = os.lstat(path).st_mode
    if sys.platform == "win32" or transport.is_loopback():
        return "" if stat.S_ISREG(mode) and _is_endpoint(path) else "not the file that a daemon writes"
    return "" if stat.S_ISSOCK(mode) else "a file, not a socket of ours"


def unix_socket() -> socket.socket:
    """A new one. Raises OSError where the system has none."""
    if sys.platform == "win32":
        raise OSError(errno.EAFNOSUPPORT, "this system has no Unix sockets")
    return socket.socket(socket.AF_UNIX)


def is_unix(sock: socket.socket) -> bool:
    if sys.platform == "win32":
        return False
    return sock.family == socket.AF_UNIX


def inherited(sock: socket.socket) -> Door | None:
    """For a socket that a service manager has made; None for one that is no Unix socket with a path."""
    if sys.platform == "win32" or sock.family != socket.AF_UNIX or not str(sock.getsockname()).startswith("/"):
        return None
    return Door(sock, None)


def answers(path: str) -> bool:
    """Whether a process listens there. Raises OSError."""
    if sys.platform == "win32" or transport.is_loopback():
        return loopback.answers(path)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a full backlog is an answer too
        try:
            probe.connect(path)
        except BlockingIOError:
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def _check_stale(path: str) -> None:
    if answers(path):
        raise Occupied(f"something else listens on {path}; set THREADRUNNER_SOCKET to another place")


def _bind_loopback(path: str) -> Door:
    """The port is whichever is free; clients learn it from the file, which comes last and at once."""
    if found := wrong_at(path):
        raise Occupied(f"{path} is {found}; move it away")
    if os.path.lexists(path):
        _check_stale(path)
    made = socket.socket(socket.AF_INET)
    beside = f"{path}.{os.getpid()}"
    try:
        if sys.platform == "win32":  # there, another process may otherwise listen at the same port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        made.bind((loopback.HOST, 0))
        endpoint = loopback.Endpoint(made.getsockname()[1], secrets.token_bytes(32))
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | files.OWN | files.NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(loopback.written(endpoint))
        os.replace(beside, path)
    except BaseException:
        made.close()
        raise
    return Door(made, endpoint)


def _is_endpoint(path: str) -> bool:
    """Whether a daemon has written it, whole or not."""
    try:
        with open(path, "rb") as file:
            return file.read(len(loopback.HELLO)) == loopback.HELLO
    except OSError:
        return False


async def _greeted(client: socket.socket, endpoint: loopback.Endpoint) -> str:
    said = await _exactly(client, len(loopback.HELLO) + loopback.NONCE)
    if not said.startswith(loopback.HELLO):
        return "a program that does not know the secret"
    ours = secrets.token_bytes(loopback.NONCE)
    nonces = said[len(loopback.HELLO) :] + ours
    await asyncio.get_running_loop().sock_sendall(client, ours + loopback.proof(endpoint, b"daemon", nonces))
    theirs = await _exactly(client, loopback.PROOF)
    known = loopback.same(theirs, loopback.proof(endpoint, b"client", nonces))
    return "" if known else "a program that does not know the secret"


async def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := await asyncio.get_running_loop().sock_recv(client, count - len(data))):
            raise EOFError
        data += more
    return data
