"""Connections to the daemon for asyncio: any number of requests at once on one socket, each can be cancelled.

A request whose task is cancelled tells the daemon with `$/cancelRequest` and does not wait for the answer: that is
how an editor's next key reaches the engine. A daemon that is gone fails the requests under way with Disconnected;
the next request looks for it, or starts it, again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from threadrunner.api import errors
from threadrunner.client import autostart, utf8
from threadrunner.system import streams, transport
from threadrunner.wire import framing, messages

log = logging.getLogger("threadrunner.client")

Notice = Callable[[str, dict[str, Any]], None]
"""Called with a notification's name (`token`, `progress`) and its params, in order, before the result."""

Listen = Callable[[dict[str, Any]], None]
"""Called with the params of each event, once they are subscribed to."""

_SILENCE_SECONDS = 10.0  # until the daemon is asked whether it lives, and then until it is given up


async def dial() -> AsyncConnection:
    """A connection to the daemon, which is started if there is none. Raises Unreachable.

    Finding or starting it may take seconds and blocks, so a thread does it. The thread's connection is closed once the
    daemon is there: a second connect costs some microseconds and spares us a blocking socket.
    """
    (await asyncio.to_thread(autostart.connect)).close()
    try:
        return await connected()
    except OSError as error:
        raise errors.Unreachable(f"the daemon was there and is gone again: {error.strerror}") from None


async def connected(listen: Listen | None = None) -> AsyncConnection:
    """A connection to the daemon that is there. Raises OSError, also where another's process answers."""
    try:
        return await streams.create_connection(lambda: AsyncConnection(listen), autostart.socket_path())
    except transport.NotOurs as other:
        raise PermissionError(errno.EPERM, str(other)) from None


def _encoded(message: dict[str, Any]) -> bytes:
    """Raises InvalidParams for text that is not UTF-8, and for a number that JSON does not have."""
    try:
        return messages.encode(message)
    except UnicodeEncodeError:
        return messages.encode({**message, "params": utf8.mended(message["params"])})
    except ValueError:
        raise errors.InvalidParams("a number of the request is infinite, or none at all; give a smaller one") from None


class AsyncConnection(asyncio.Protocol):
    """One stream. Ends for good when the daemon hangs up; `AsyncClient` makes the next one.

    What it reads it hands on in the very call that the event loop makes: with asyncio's streams each token would wake a
    task of ours first, and the loop would ask the kernel for news once more before that.
    """

    def __init__(self, listen: Listen | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._listen = listen
        self._decoder = framing.Decoder()
        self._transport: asyncio.Transport | None = None
        self._lost = self._loop.create_future()
        self._waiting: dict[int, tuple[asyncio.Future[Any], Notice | None]] = {}
        self._requests = 0
        self._ended: errors.ApiError | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._asked = False  # whether the daemon lives
        self._heard = False  # anything, since the last look

    def __repr__(self) -> str:
        return f"<Connection {'ended' if self._ended else 'open'} {len(self._waiting)} waiting>"

    @property
    def open(self) -> bool:
        return self._ended is None

    async def request(self, method: str, params: dict[str, Any], notice: Notice | None = None) -> Any:
        """The result. Raises ApiError; when cancelled, tells the daemon."""
        if self._ended is not None:
            raise self._ended
        self._requests += 1
        id = self._requests
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[id] = (answer, notice)
        try:
            self._send(_encoded(messages.request(id, method, params)))
            if self._watch is None:
                self._watch = self._loop.call_later(_SILENCE_SECONDS, self._look)
            return await answer
        except asyncio.CancelledError:
            self._send(messages.encode(messages.notification("$/cancelRequest", {"id": id})))
            raise
        finally:
            del self._waiting[id]

    async def ended(self) -> None:
        """Return once the daemon has hung up."""
        await asyncio.wait({self._lost})

    async def close(self) -> None:
        self._end(errors.Disconnected("the connection was closed"))
        await self.ended()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.Transport, transport
        )  # uvloop's, which Ray's replicas have, is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._decoder.receive(data)
        try:
            while (frame := self._decoder.next_frame()) is not None:
                self._take(messages.decode(frame))
        except (framing.FramingError, messages.DecodeError) as error:
            self._end(errors.Unreachable(f"what answers on the socket is not threadrunner's daemon ({error})"))

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            log.debug("the connection broke: %s", error)
        self._end(errors.Disconnected("the daemon ended before it had answered"))
        self._lost.set_result(None)

    def _send(self, body: bytes) -> None:
        if self._ended is None and self._transport is not None:  # a request is small, and the daemon reads at all times
            self._transport.write(framing.encode(body))

    def _look(self) -> None:
        """One timer for all requests, since a keystroke has no time for one of its own: a daemon that has said nothing
        for a while is asked whether it lives, and given up when it does not answer that either."""
        self._watch = None
        if not self._waiting or self._ended is not None:
            self._asked = False
            return
        if self._heard:
            self._asked = False
        elif self._asked:
            self._end(errors.Unreachable("the daemon does not answer; run `threadrunner doctor`"))
            return
        else:
            self._asked = True
            self._requests += 1
            self._send(messages.encode(messages.request(self._requests, "status", {})))
        self._heard = False
        self._watch = self._loop.call_later(_SILENCE_SECONDS, self._look)

    def _take(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise messages.DecodeError("not a message")
        if "method" in message:
            payload = message.get("params") or {}
            if message["method"] == "event" and self._listen is not None:
                self._listen(payload)
                return
            waiting = self._waiting.get(payload.get("request", 0))
            if waiting is not None and waiting[1] is not None:
                waiting[1](message["method"], payload)
            return
        if message.get("id") is None and "error" in message:
            # The daemon could not read one of our requests, say one that is nested too deep. Which one it was it cannot
            # say, and none may wait for ever.
            self._fail(errors.from_wire(message["error"]))
            return
        waiting = self._waiting.get(message.get("id", 0))
        if waiting is None or waiting[0].done():  # the answer to a request that was cancelled
            return
        answer = waiting[0]
        if "error" in message:
            answer.set_exception(errors.from_wire(message["error"]))
        else:
            answer.set_result(message.get("result"))

    def _end(self, error: errors.ApiError) -> None:
        if self._ended is not None:
            return
        self._ended = error
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.close()
        self._fail(error)

    def _fail(self, error: errors.ApiError) -> None:
        """All requests under way."""
        for answer, _ in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)


class AsyncClient:
    """The daemon, whichever process it is at the moment: connects on the first request and after each end."""

    def __init__(
        self, connected: Callable[[], None] = lambda: None, dial: Callable[[], Awaitable[AsyncConnection]] = dial
    ) -> None:
        """`connected` is called with each new connection; `dial` makes one, to another daemon than this user's."""
        self._tell = connected
        self._dial = dial
        self._connection: AsyncConnection | None = None
        self._dialling: asyncio.Task[AsyncConnection] | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.open

    async def request(self, method: str, params: dict[str, Any], notice: Notice | None = None) -> Any:
        """The result. Raises ApiError.

        Sent once more where the daemon ended before it had said anything about this request, e.g. because it is being
        stopped or updated; a request whose answer has begun is never sent again.
        """
        begun = False

        def listen(name: str, payload: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            if notice is not None:
                notice(name, payload)

        connection = await self._connect()
        try:
            return await connection.request(method, params, listen)
        except (errors.Disconnected, errors.ShuttingDown):
            if begun:
                raise
        if self._connection is connection:
            await connection.close()
        return await (await self._connect()).request(method, params, notice)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _connect(self) -> AsyncConnection:
        if self._connection is not None and self._connection.open:
            return self._connection
        if self._dialling is None:
            self._dialling = asyncio.create_task(self._dialled())
            self._dialling.add_done_callback(self._forget)
        # Shielded: the next key cancels this request, and starting a daemon takes longer than a key.
        return await asyncio.shield(self._dialling)

    async def _dialled(self) -> AsyncConnection:
        self._connection = await self._dial()
        self._tell()
        return self._connection

    def _forget(self, dialling: asyncio.Task[AsyncConnection]) -> None:
        self._dialling = None
        if not dialling.cancelled():
            dialling.exception()  # seen, even where all requests that waited for it have been cancelled
