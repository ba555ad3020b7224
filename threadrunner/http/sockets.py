"""The socket that `serve` listens on: a port, a path of its own, or what the system has opened for it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat

from threadrunner import activation
from threadrunner.system import listening, this_process


class CannotListen(Exception):
    """The text says why and what to do."""


def passed() -> socket.socket | None:
    """The one that systemd has made for us, with any address that its unit names. Raises CannotListen."""
    try:
        listener = activation.passed_socket()
    except activation.BadActivation as error:
        raise CannotListen(str(error)) from None
    if listener is None:
        return None
    if not (listening.is_unix(listener) or listener.family in (socket.AF_INET, socket.AF_INET6)):
        raise CannotListen("the socket from systemd is neither a port nor a path: see ListenStream= of its unit")
    listener.setblocking(False)
    return listener


def host(listener: socket.socket) -> str | None:
    """The address that it listens on; None for a Unix socket."""
    return None if listening.is_unix(listener) else str(listener.getsockname()[0])


def url(listener: socket.socket, secure: bool = False) -> str:
    """http://…, https://…, or a Unix socket's path."""
    name = host(listener)
    return (
        str(listener.getsockname())
        if name is None
        else f"http{'s' if secure else ''}://{in_url(name)}:{listener.getsockname()[1]}"
    )


def in_url(name: str) -> str:
    """An address of IPv6 stands in brackets, in a URL and in a Host header."""
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def is_local(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def on_port(host: str, port: int) -> socket.socket:
    """Raises CannotListen."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}: {error.strerror or error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            text = f"port {port} of {host} is taken: is another `threadrunner serve` running? Or use --port {port + 1}"
            raise CannotListen(text) from None
        raise CannotListen(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    listener.setblocking(False)
    return listener


def on_path(path: str) -> socket.socket:
    """A Unix socket that only this user can open. Raises CannotListen where something else is at the path."""
    if len(os.fsencode(path)) > this_process.SOCKET_PATH_MAX:
        raise CannotListen(f"{path} is too long for a socket: at most {this_process.SOCKET_PATH_MAX} bytes")
    _clear(path)
    try:
        listener = listening.unix_socket()
    except OSError as error:
        raise CannotListen(f"{error.strerror}; use --port") from None
    before = os.umask(0o177)  # bind makes the file; to change its mode afterwards would leave a moment
    try:
        listener.bind(path)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot listen on {path}: {error.strerror}") from None
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def _clear(path: str) -> None:
    """Remove a socket that no process listens on any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise CannotListen(f"{path} is there and is no socket; name another path")
    except OSError:
        return
    with contextlib.closing(listening.unix_socket()) as probe:
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise CannotListen(f"another program listens on {path}")
