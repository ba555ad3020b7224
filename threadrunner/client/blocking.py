"""One connection to the daemon, for the shell: blocking, one request at a time.

Rule: the standard library's lightest parts only, because every prompt waits for these imports.
"""

from __future__ import annotations

import _socket  # the C part of `socket`, whose Python part costs 4 ms for enums and selectors that nothing here uses
import itertools
import os
import select
import struct
import sys
import time

from threadrunner import paths
from threadrunner.api import errors
from threadrunner.wire import framing, messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_READ = 1 << 16
_CONNECT_SECONDS = 10
_ids = itertools.count(1)


def dial(path: str) -> Connection | None:
    """A connection to the socket at `path`; None where no process listens on it. Raises Unreachable."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        _connect(sock, path)
        _check_owner(sock, path)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except BlockingIOError:
        sock.close()
        raise errors.Unreachable(
            f"the daemon is not accepting connections at {path}; it may be suspended or overloaded: run "
            "`threadrunner doctor`"
        ) from None
    except OSError as error:
        sock.close()
        raise errors.Unreachable(f"cannot connect to {path}: {error.strerror}; run `threadrunner doctor`") from None
    except errors.ApiError:
        sock.close()
        raise
    return Connection(sock)


def _connect(sock: _socket.socket, path: str) -> None:
    """A daemon that does not accept fills its backlog, and then connect() would block for good. A timeout of Python's
    own would not do: it makes the socket non-blocking, and a full backlog an error at once."""
    if sys.platform != "linux":
        return sock.connect(path)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("@ll", _CONNECT_SECONDS, 0))
    sock.connect(path)
    return sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("@ll", 0, 0))


def _check_owner(sock: _socket.socket, path: str) -> None:
    """Another user's process behind our path, e.g. in /tmp, would be given our prompts."""
    uid = paths.peer_uid(sock)
    if uid != os.getuid():
        raise errors.Unreachable(
            f"{path} is answered by uid {uid}, not by you; set THREADRUNNER_SOCKET to a path in a folder of yours"
        )


class EncodedRequest:
    """A request as it is sent. Encoded once: its size is measured here, and a second daemon may have to be asked."""

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        """Raises InvalidParams for a request that is larger than a frame may be."""
        self.id = next(_ids)
        body = messages.encode(messages.request(self.id, method, params))
        if len(body) > framing.FRAME_LIMIT:
            raise errors.InvalidParams(
                f"the request has {len(body)} bytes, the maximum is {framing.FRAME_LIMIT} "
                f"({framing.FRAME_LIMIT >> 20} MiB); send less text"
            )
        self.frame = framing.encode(body)


class Connection:
    """Made by `dial`. Closing it, or ending the process, cancels the request under way."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock
        self._decoder = framing.Decoder()

    def close(self) -> None:
        self._sock.close()

    def events(self, request: EncodedRequest, watch: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Send the request; the answers are (notification's name, params) …, and at the end ("result", value).

        `watch` is a file descriptor written to meanwhile: its reader's end raises BrokenPipeError at once, even while
        no answer comes. Raises ApiError.
        """
        self._send(request.frame)
        while True:
            message = self._receive(watch)
            if "method" in message:
                payload = message.get("params") or {}
                if payload.get("request") == request.id:
                    yield message["method"], payload
            elif message.get("id") in (request.id, None):  # null: the daemon could not read what we sent
                if "error" in message:
                    raise errors.from_wire(message["error"])
                yield "result", message["result"]
                return

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of a request whose notifications are not needed. Raises ApiError."""
        for event, payload in self.events(EncodedRequest(method, params)):
            if event == "result":
                return payload
        raise AssertionError("events() ends with a result or raises")

    def wait_closed(self, seconds: float) -> bool:
        """Whether the daemon hangs up within the time; what it sends meanwhile is dropped."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not self._readable(left):
                return False
            try:
                if not self._sock.recv(_READ):
                    return True
            except ConnectionError:
                return True
        return False

    def _send(self, frame: bytes) -> None:
        try:  # noqa: SIM105 - contextlib is one more import for every prompt
            self._sock.sendall(frame)
        except ConnectionError:
            pass  # it may have said why before it hung up: _receive finds out

    def _receive(self, watch: int | None) -> dict[str, Any]:
        try:
            while (frame := self._decoder.next_frame()) is None:
                self._readable(None, watch)
                data = self._sock.recv(_READ)
                if not data:
                    raise ConnectionResetError
                self._decoder.receive(data)
            message = messages.decode(frame)
            if not isinstance(message, dict):
                raise messages.DecodeError("not a message")
            return message
        except BrokenPipeError:
            raise
        except OSError:
            raise errors.Disconnected(
                "the daemon ended before it had answered; run the command again, and see `threadrunner logs` if it "
                "happens again"
            ) from None
        except (framing.FramingError, messages.DecodeError) as error:
            raise errors.Unreachable(
                f"what answers on the socket is not threadrunner's daemon ({error}); run `threadrunner doctor`"
            ) from None

    def _readable(self, seconds: float | None, watch: int | None = None) -> bool:
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        if watch is not None:
            poll.register(watch, 0)  # POLLERR and POLLHUP are reported without being asked for
        ready = poll.poll(None if seconds is None else seconds * 1e3)
        if any(fd == watch for fd, _ in ready):
            raise BrokenPipeError("the reader of the answer has gone")
        return bool(ready)
