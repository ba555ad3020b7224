"""One request to the daemon as a stream of events: pieces of the answer, progress, and its end.

Every dialect's answer is made from these. Whatever ends the waiting ends the request: `opened` cancels it, and the
daemon is told, also while it waits in the queue and while its prompt is evaluated.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from threadrunner.api.errors import ApiError, InternalError
from threadrunner.api.generation import Generated
from threadrunner.http import asking
from threadrunner.http.joining import joined
from threadrunner.http.names import without_path

log = logging.getLogger("threadrunner.http")


@dataclass(frozen=True)
class Order:
    """What the daemon is asked: a method and its params. `model` is the name that the answer gives back; `more` are
    params of further requests, of which the answer has the choices too, numbered on. `prompt` is the text of a prompt
    that the params have as tokens."""

    method: str
    params: dict[str, Any]
    model: str
    more: tuple[dict[str, Any], ...] = ()
    prompt: str = ""


class CallPiece(NamedTuple):
    """Which tool call a piece belongs to; its first piece has `id` and `name`."""

    number: int
    id: str | None
    name: str | None


class AnswerPiece(NamedTuple):
    """A part of an answer; `choice` is which of `n`, `kind` text, reasoning, or call (of its arguments)."""

    choice: int
    text: str
    kind: str = "text"
    call: CallPiece | None = None


class Progressed(NamedTuple):
    """Of a load, a download or a prompt's evaluation; `total` 0: not known."""

    stage: str
    done: int
    total: int


Event = AnswerPiece | Progressed | Generated | ApiError
"""An answer's events end with a Generated or an ApiError."""


TOGETHER = 8
"""Requests of one Order that are under way at once: more would fill the queue that other clients wait in."""


class Daemon(Protocol):
    """What an exchange needs of `client.aio.AsyncClient`."""

    async def request(self, method: str, params: dict[str, Any], notice: Any = None) -> Any: ...


AtOnce = Callable[[list[Event]], bool]
"""What may be done with events without waking the task that waits for them; whether it was done."""

Heard = Callable[[Generated], None]
"""Called with each answer that was completed."""


class Exchange:
    """The events of one Order, in order."""

    def __init__(self, daemon: Daemon, order: Order, heard: Heard = lambda _answer: None) -> None:
        self._heard = heard
        self._asking = asking.current()
        self._asking.model = without_path(order.params.get("model", ""))
        self._pieces = 0  # a token each, or more
        self._evaluated = 0  # tokens of the prompt, as far as is known
        self._counted = False
        self._loop = asyncio.get_running_loop()
        self._events: list[Event] = []
        self._waiting: asyncio.Future[None] | None = None
        self._at_once: AtOnce | None = None
        self._soon = False  # `_hand_on` will be called
        self._patience = 0.0
        self._last = 0.0  # when an event came, on the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._run(daemon, order))
        self._asking.hold()
        self._task.add_done_callback(lambda _task: self._asking.release())

    async def events(self, patience: float, at_once: AtOnce | None = None) -> list[Event]:
        """All that have come since the last call, after waiting up to `patience` seconds for one; may be empty. Those
        that `at_once` takes are not among them, and the waiting goes on."""
        if not self._events:
            if self._timer is None or patience != self._patience:
                self._watch(patience)
            self._waiting = self._loop.create_future()
            self._at_once = at_once
            try:
                await self._waiting
            finally:
                self._waiting = self._at_once = None
        taken, self._events = self._events, []
        return taken

    def fail(self, error: ApiError) -> None:
        """End it with this error, whatever the daemon says."""
        if self._task.cancel():
            self._put(error)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if not self._counted:  # to hang up before the end is no way to get tokens for nothing
            self._asking.charge(self._evaluated, 0, self._pieces)

    async def _run(self, daemon: Daemon, order: Order) -> None:
        try:
            if order.more:
                answer = joined(await self._several(daemon, order))
            else:
                answer = await self._one(daemon, order.method, order.params, 0)
            self._heard(answer)
            self._counted = True
            self._asking.model = without_path(answer.model)
            usage = answer.usage
            self._asking.charge(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
            self._put(answer)
        except ApiError as error:
            self._put(error)
        except Exception:  # without an end the client would be told for ever that it goes on
            log.exception("reading the answer to %s", order.method)
            self._put(InternalError("the daemon's answer could not be read; `serve`'s log says why"))

    async def _one(self, daemon: Daemon, method: str, params: dict[str, Any], first: int) -> Generated:
        """`first` is the number of its first choice."""
        result = await daemon.request(method, params, functools.partial(self._notice, first))
        return msgspec.convert(result, Generated)

    async def _several(self, daemon: Daemon, order: Order) -> list[Generated]:
        """Some at a time; one that fails ends the others. Raises ApiError."""
        n = order.params.get("n", 1)
        free = asyncio.Semaphore(TOGETHER)

        async def one(i: int, params: dict[str, Any]) -> Generated:
            async with free:
                return await self._one(daemon, order.method, params, i * n)

        asked = [asyncio.create_task(one(i, params)) for i, params in enumerate((order.params, *order.more))]
        try:
            return await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    def _notice(self, first: int, name: str, payload: dict[str, Any]) -> None:
        """`first` is the number of this request's first choice."""
        if name == "progress":
            if payload["stage"] == "prefill":
                self._evaluated = payload["done"]
            self._put(Progressed(payload["stage"], payload["done"], payload["total"]))
        elif name == "token":
            self._pieces += 1
            call = payload.get("call")
            part = CallPiece(call["index"], call.get("id"), call.get("name")) if call else None
            self._put(AnswerPiece(first + payload["index"], payload["text"], payload.get("kind", "text"), part))

    def _put(self, event: Event) -> None:
        self._events.append(event)
        self._last = self._loop.time()
        if self._at_once is None:
            self._wake()
        elif not self._soon:  # behind all that the same read has brought: one write for them
            self._soon = True
            self._loop.call_soon(self._hand_on)

    def _hand_on(self) -> None:
        self._soon = False
        if self._at_once is not None and self._at_once(self._events):
            self._events = []
        else:
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _watch(self, patience: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._patience, self._last = patience, self._loop.time()
        self._timer = self._loop.call_later(patience, self._look)

    def _look(self) -> None:
        """One timer for all of an answer's tokens: a timeout for each would cost a token as much as its JSON."""
        left = self._last + self._patience - self._loop.time()
        self._timer = self._loop.call_later(left, self._look) if left > 0 else None
        if self._timer is None:
            self._wake()


class Exchanges:
    """Those under way; `end` fails them all, for `serve` is ending."""

    def __init__(self, daemon: Daemon, heard: Heard = lambda _answer: None) -> None:
        self._daemon = daemon
        self._heard = heard
        self._open: set[Exchange] = set()

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.asynccontextmanager
    async def opened(self, order: Order) -> AsyncIterator[Exchange]:
        """Order the daemon; leaving this before the answer's end cancels it there."""
        exchange = Exchange(self._daemon, order, self._heard)
        self._open.add(exchange)
        try:
            yield exchange
        finally:
            self._open.discard(exchange)
            await exchange.close()

    def end(self, error: ApiError) -> None:
        for exchange in list(self._open):
            exchange.fail(error)


async def whole(exchanges: Exchanges, order: Order) -> Generated:
    """The answer in one piece. Raises ApiError."""
    first, *more = ({**params, "stream": False} for params in (order.params, *order.more))
    async with exchanges.opened(Order(order.method, first, order.model, tuple(more))) as exchange:
        while True:
            for event in await exchange.events(60.0):
                if isinstance(event, Generated):
                    return event
                if isinstance(event, ApiError):
                    raise event
