"""A streamed answer: when its status is sent, what is said while nothing comes, and how it ends.

An error that comes first is a plain status, which is all that SDKs make typed errors of: so status and headers wait for
the answer's first piece, but not for long, since Node's fetch gives a silent server up after 300 seconds. From then on
silence is filled: a bare comment line, for some readers take `: ping` for the end of the stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from threadrunner.api.errors import ApiError
from threadrunner.api.generation import Generated
from threadrunner.http import failures
from threadrunner.http.exchange import AnswerPiece, AtOnce, Event, Exchange, Exchanges, Order, Progressed
from threadrunner.http.failures import HttpFailure
from threadrunner.http.patience import CONNECTION, PatientProtocol

log = logging.getLogger("threadrunner.http")

FIRST_WORD = 10.0
"""Seconds that the status may wait for the first event that says how it will go."""

SILENCE = 10.0
"""Seconds without a byte until a comment is sent."""

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
DONE = b"data: [DONE]\n\n"


def data(value: Any) -> bytes:
    """One server-sent event without a name: one line of compact JSON behind a colon and a blank, which some readers
    take to the letter."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def named(event: str, value: Any) -> bytes:
    """One server-sent event with a name."""
    return b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(value) + b"\n\n"


class Writer(Protocol):
    """How one dialect writes an answer's events. Each method gives the bytes that are sent, b"" for none."""

    media_type: str
    silence: bytes
    """What fills a silence."""
    tells_progress: bool
    """Whether the client wants to hear of loads and prefills: the status is then sent with the first of these."""

    def begin(self) -> bytes: ...

    def piece(self, piece: AnswerPiece) -> bytes: ...

    def progress(self, progress: Progressed) -> bytes: ...

    def end(self, answer: Generated) -> bytes: ...

    def failed(self, failure: HttpFailure) -> bytes: ...


class Stream(Response):
    """An answer that is written while it is generated."""

    def __init__(self, exchanges: Exchanges, order: Order, writer: Writer, silence: float = SILENCE) -> None:
        """`silence`: seconds without a byte until it is filled."""
        self._exchanges = exchanges
        self._silence = silence
        self._order = order
        self._writer = writer
        self._defect = False
        self.background = None
        self.status_code = 200
        self.init_headers({**HEADERS, "content-type": writer.media_type})
        # A stream's length is not known.
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Raises ApiError while no status has been sent."""
        write, at_once = outlet(scope, send), self._at_once(scope)
        async with self._exchanges.opened(self._order) as exchange:
            events = await _first_word(exchange, self._writer.tells_progress)
            with gathered(scope):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                if begin := self._writer.begin() + self._joined(events):
                    await write(begin)
            while not self._ended(events):
                events = await exchange.events(self._silence, at_once)
                if self._defect:
                    break
                if body := self._joined(events) if events else self._writer.silence:
                    await write(body)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _ended(self, events: list[Event]) -> bool:
        return self._defect or any(isinstance(event, (Generated, ApiError)) for event in events)

    def _at_once(self, scope: Scope) -> AtOnce | None:
        """How pieces are written in the very call of the event loop that has read them, where the client reads: to wake
        our task for each costs as much as all the rest."""
        connection = direct(scope)
        if connection is None:
            return None

        def write(events: list[Event]) -> bool:
            if connection.write_paused or any(type(event) is not AnswerPiece for event in events):
                return False
            if body := self._joined(events):
                connection.write_now(body)
            return not self._defect

        return write

    def _joined(self, events: list[Event]) -> bytes:
        try:
            return b"".join(map(self._written, events))
        except Exception:  # a defect of ours: what has begun cannot become a status any more
            log.exception("writing the answer to %s", self._order.method)
            self._defect = True
            return self._writer.failed(failures.DEFECT)

    def _written(self, event: Event) -> bytes:
        match event:
            case AnswerPiece():
                return self._writer.piece(event)
            case Progressed():
                return self._writer.progress(event)
            case Generated():
                return self._writer.end(event)
            case ApiError():
                return self._writer.failed(failures.of(event))


async def _first_word(exchange: Exchange, progress: bool) -> list[Event]:
    """What comes until the answer begins, or for FIRST_WORD seconds. Raises the ApiError that comes instead."""
    seen: list[Event] = []
    loop = asyncio.get_running_loop()
    deadline = loop.time() + FIRST_WORD
    while (left := deadline - loop.time()) > 0:
        events = await exchange.events(left)
        seen += events
        for event in events:
            if isinstance(event, ApiError):
                raise event
        if any(progress or not isinstance(event, Progressed) for event in events):
            break
    return seen


def outlet(scope: Scope, send: Send) -> Callable[[bytes], Awaitable[None]]:
    """How pieces of a streamed body are written once its head has been sent; none may be empty. They wait for a client
    that does not read, until `patience` hangs up on it."""
    if (connection := direct(scope)) is not None:
        return connection.write_chunk

    async def write(body: bytes) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": True})

    return write


def gathered(scope: Scope) -> AbstractContextManager[None]:
    """What is written within is one write, where that can be."""
    connection = direct(scope)
    return nullcontext() if connection is None else connection.gathered()


def direct(scope: Scope) -> PatientProtocol | None:
    """The connection, where pieces of a body may be written to it directly."""
    connection: PatientProtocol | None = scope.get("state", {}).get(CONNECTION)
    if connection is None or scope["http_version"] != "1.1" or scope["method"] == "HEAD":
        return None
    return connection
