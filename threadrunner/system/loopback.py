"""The daemon over the loopback, for systems without Unix sockets: whoever can read a file of this user's may come in.

The file at the socket's path has the port and a secret, and is this user's alone (0600; on Windows by the access list
of %LOCALAPPDATA%). Each side proves to the other that it has read it, before one byte is taken for a message. The
secret itself is never sent: once its daemon has gone, a port is anyone's, who then learns nothing.

    client  HELLO, 32 random bytes
    daemon  32 random bytes, HMAC-SHA256(secret, "daemon" + both)
    client  HMAC-SHA256(secret, "client" + both), and then its requests
"""

from __future__ import annotations

import _socket
import errno
import hmac
import os
import secrets
import stat
from typing import NamedTuple

from threadrunner.system import files, locks, this_process

HOST = "127.0.0.1"
HELLO = b"threadrunner-loopback 1\n"
NONCE = 32
"""Bytes."""
PROOF = 32
GREETING_SECONDS = 5.0
_FILE_LIMIT = 512


class Endpoint(NamedTuple):
    """What the file says."""

    port: int
    secret: bytes


class BadEndpoint(OSError):
    """The file is none of ours, or others may read it; `strerror` says what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EINVAL, text)


class ForeignEndpoint(Exception):
    """Another user's daemon, or what pretends to be one, has written the file; the text says whose."""


def written(endpoint: Endpoint) -> bytes:
    """The file's contents."""
    return HELLO + f"{endpoint.port} {endpoint.secret.hex()}\n".encode()


def parsed(data: bytes) -> Endpoint:
    """The opposite. Raises BadEndpoint."""
    if not data.startswith(HELLO):
        raise BadEndpoint("it is a file, and not the one that a daemon writes; move it away")
    try:
        port, secret = data[len(HELLO) :].decode("ascii").split()
        endpoint = Endpoint(int(port), bytes.fromhex(secret))
    except ValueError:
        raise BadEndpoint("what a daemon has written there is damaged; remove it") from None
    if not 0 < endpoint.port < 1 << 16 or len(endpoint.secret) < 32:
        raise BadEndpoint("what a daemon has written there is damaged; remove it")
    return endpoint


def read(path: str) -> Endpoint:
    """Raises FileNotFoundError, BadEndpoint, OSError; for another user's file, ForeignEndpoint."""
    fd = os.open(path, os.O_RDONLY | files.OWN | files.NOFOLLOW | files.NONBLOCK)
    try:
        facts = os.fstat(fd)
        if facts.st_uid != this_process.uid():
            raise ForeignEndpoint(f"uid {facts.st_uid}")
        if not stat.S_ISREG(facts.st_mode):
            raise BadEndpoint("it is no file; is THREADRUNNER_TRANSPORT the same for the daemon?")
        if this_process.for_others(facts.st_mode):
            raise BadEndpoint("others can read it; remove it, and end the daemon, so that a new secret is made")
        return parsed(os.read(fd, _FILE_LIMIT))
    finally:
        os.close(fd)


def proof(endpoint: Endpoint, side: bytes, nonces: bytes) -> bytes:
    """What `side` (`daemon` or `client`) sends to show that it knows the secret."""
    return hmac.digest(endpoint.secret, side + nonces, "sha256")


def same(one: bytes, other: bytes) -> bool:
    """Compared in a time that tells nothing of where they differ."""
    return hmac.compare_digest(one, other)


def connect(path: str) -> _socket.socket:
    """A greeted connection, blocking.

    What listens at the port and cannot prove itself is no daemon: the one that wrote the file has gone, and the port is
    another program's now. Unless a daemon holds the lock: then it is one that is silent.

    Raises FileNotFoundError or ConnectionRefusedError where no daemon listens, BlockingIOError for a silent one;
    ForeignEndpoint, BadEndpoint, OSError.
    """
    try:
        return _greeted(read(path))
    except ConnectionRefusedError as error:
        if locks.is_held(f"{path}.lock"):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        raise


def answers(path: str) -> bool:
    """Whether the daemon that wrote the file answers. Raises OSError."""
    try:
        _greeted(read(path)).close()
    except (ConnectionRefusedError, FileNotFoundError, BadEndpoint, ForeignEndpoint):
        return False
    return True


def _greeted(endpoint: Endpoint) -> _socket.socket:
    """Raises ConnectionRefusedError where no daemon of this file answers in time; OSError."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.settimeout(GREETING_SECONDS)
        try:
            sock.connect((HOST, endpoint.port))
            _greet(sock, endpoint)
        except (TimeoutError, ConnectionError, EOFError) as error:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)) from error
        sock.settimeout(None)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _greet(sock: _socket.socket, endpoint: Endpoint) -> None:
    """Raises EOFError where the other side is no daemon of this file."""
    ours = secrets.token_bytes(NONCE)
    sock.sendall(HELLO + ours)
    answer = _exactly(sock, NONCE + PROOF)
    nonces = ours + answer[:NONCE]
    if not same(answer[NONCE:], proof(endpoint, b"daemon", nonces)):
        raise EOFError
    sock.sendall(proof(endpoint, b"client", nonces))


def _exactly(sock: _socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := sock.recv(count - len(data))):
            raise EOFError
        data += more
    return data
