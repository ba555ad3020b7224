"""One connection to the daemon, for the shell: blocking, one request at a time.

Rule: the standard library's lightest parts only, because every prompt waits for these imports.
"""

from __future__ import annotations

import itertools
import time

from threadrunner.api import errors
from threadrunner.system import transport
from threadrunner.wire import framing, messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterator
    from typing import Any

_READ = 1 << 16
_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 10  # until the daemon is asked whether it lives, and then until it is given up
_ids = itertools.count(1)


def dial(path: str) -> Connection | None:
    """A connection to the socket at `path`; None where no process listens on it. Raises Unreachable."""
    try:
        return Connection(transport.connect(path, _CONNECT_SECONDS), path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (BlockingIOError, TimeoutError):
        raise unanswering(path) from None
    except OSError as error:
        raise errors.Unreachable(f"cannot connect to {path}: {error.strerror}; run `threadrunner doctor`") from None
    except transport.NotOurs as other:
        raise errors.Unreachable(
            f"{path} is answered by {other}, not by you; set THREADRUNNER_SOCKET to a path in a folder of yours"
        ) from None


def unanswering(path: str, *pids: int) -> errors.Unreachable:
    """The error for a daemon that is there and says nothing; `pids` as for `processes.daemon`."""
    from threadrunner import processes

    pid = processes.daemon(path, *pids)
    which = f" (pid {pid})" if pid else ""
    return errors.Unreachable(f"the daemon{which} at {path} does not answer; {processes.remedy(pid)}")


class EncodedRequest:
    """A request as it is sent. Encoded once: its size is measured here, and a second daemon may have to be asked."""

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        """Raises InvalidParams for a request that is larger than a frame may be, or has text that is not UTF-8: the one
        place that all bytes pass that come from arguments, variables, files and keys."""
        self.id = next(_ids)
        try:
            body = messages.encode(messages.request(self.id, method, params))
        except UnicodeEncodeError:
            from threadrunner.client import utf8

            body = messages.encode(messages.request(self.id, method, utf8.mended(params)))
        if len(body) > framing.FRAME_LIMIT:
            raise errors.InvalidParams(
                f"the request has {len(body)} bytes, the maximum is {framing.FRAME_LIMIT} "
                f"({framing.FRAME_LIMIT >> 20} MiB); send less text"
            )
        self.frame = framing.encode(body)
        self.connection: Connection | None = None
        """Where it is under way."""

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification that concerns this request, which must be under way. Raises Unreachable."""
        assert self.connection, "an event of it has come"
        self.connection.send(framing.encode(messages.encode(messages.notification(method, params))))


class Connection:
    """Made by `dial`. Closing it, or ending the process, cancels the request under way."""

    def __init__(self, sock: _socket.socket, path: str) -> None:
        self._sock = sock
        self._path = path
        self._decoder = framing.Decoder()
        self._readable = transport.Readable(sock).wait
        self._asked = False  # whether the daemon lives, and it has not said anything since

    def close(self) -> None:
        self._sock.close()

    def events(self, request: EncodedRequest, watch: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Send the request; the answers are (notification's name, params) …, and at the end ("result", value).

        `watch` is a file descriptor written to meanwhile: its reader's end raises BrokenPipeError at once, even while
        no answer comes. Raises ApiError.
        """
        request.connection = self
        self.send(request.frame)
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

    def daemon_pid(self) -> int:
        """The daemon's process; 0 where that cannot be known for sure."""
        from threadrunner import processes

        return processes.daemon(self._path, transport.peer_pid(self._sock))

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

    def send(self, frame: bytes) -> None:
        """Raises Unreachable where the daemon reads nothing."""
        try:
            self._sock.sendall(frame)
        except ConnectionError:
            pass  # it may have said why before it hung up: _receive finds out
        except (BlockingIOError, TimeoutError):
            raise self._unanswering() from None

    def _unanswering(self) -> errors.Unreachable:
        return unanswering(self._path, transport.peer_pid(self._sock))

    def _await(self, watch: int | None) -> None:
        """Return when there is something to read. A long silence is that of a model at work, or of a daemon that is
        suspended or hangs: any request tells, as the daemon answers at any time. Raises Unreachable."""
        while not self._readable(_SILENCE_SECONDS, watch):
            if self._asked:
                raise self._unanswering()
            self._asked = True
            self.send(framing.encode(messages.encode(messages.request(next(_ids), "status", {}))))
        self._asked = False

    def _receive(self, watch: int | None) -> dict[str, Any]:
        try:
            while (frame := self._decoder.next_frame()) is None:
                self._await(watch)
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
