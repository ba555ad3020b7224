"""Answers that the page's tabs watch: each is one exchange with the daemon and what it has said so far.

A tab that is loaded again, or a second one, finds the answer where it is. One that no tab watches any more goes on for
GRACE seconds, which a reload or a moment without Wi-Fi takes, and is then stopped: the daemon keeps what had been said,
and no machine computes for a closed tab.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from threadrunner.api.errors import ApiError
from threadrunner.api.generation import Generated
from threadrunner.http import failures
from threadrunner.http.exchange import AnswerPiece, Event, Exchanges, Order, Progressed
from threadrunner.http.streams import SILENCE

log = logging.getLogger("threadrunner.http")

GRACE = 20.0
"""Seconds."""

NOTHING = b"\n"
"""What fills a silence: an empty line, which the page skips."""


def line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"


class LiveAnswer:
    """One answer under way, as lines of JSON. `ended` is called once, with its conversation's name."""

    def __init__(self, exchanges: Exchanges, session: str, order: Order, ended: Callable[[str], None]) -> None:
        self.session = session
        self._ended = ended
        self._prompt = order.params.get("prompt", "")
        self._lines = [self._head()]
        self._over = False
        self._end: dict[str, Any] = {"stopped": True}
        self._news = asyncio.Event()
        self._watchers = 0
        self._unwatched: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._run(exchanges, order))

    async def watch(self, grace: float = GRACE) -> AsyncGenerator[bytes, None]:
        """All its lines from the first on, as they come; leaving this is no longer to watch it."""
        self._watchers += 1
        if self._unwatched is not None:
            self._unwatched.cancel()
        seen = 0
        try:
            while True:
                if seen < len(self._lines):
                    new = self._lines[seen:]
                    seen += len(new)
                    yield b"".join(new)
                elif self._over:
                    return
                else:
                    yield await self._next()
        finally:
            self._watchers -= 1
            if not self._watchers and not self._over:
                self._unwatched = asyncio.get_running_loop().call_later(grace, self.stop)

    def _head(self) -> bytes:
        return line({"session": self.session, "prompt": self._prompt})

    def renamed(self, session: str) -> None:
        """For those that begin to watch it from now on."""
        self.session = session
        self._lines[0] = self._head()

    def stop(self) -> None:
        self._task.cancel()

    async def stopped(self, **why: Any) -> None:
        """Stop it, and return when the daemon has been told; `why` is in the line that says so."""
        self._end |= why
        self.stop()
        await asyncio.wait({self._task})

    async def _next(self) -> bytes:
        """Wait for news; what is said meanwhile."""
        self._news.clear()
        try:
            async with asyncio.timeout(SILENCE):
                await self._news.wait()
        except TimeoutError:
            return NOTHING
        return b""

    async def _run(self, exchanges: Exchanges, order: Order) -> None:
        try:
            async with exchanges.opened(order) as exchange:
                ended = False
                while not ended:
                    for event in await exchange.events(SILENCE):
                        ended = isinstance(event, (Generated, ApiError))
                        self._say(told(event))
        except asyncio.CancelledError:
            self._say(self._end)
        except Exception:  # a defect of ours
            log.exception("an answer in %s", self.session)
            self._say({"failed": {"message": failures.DEFECT.message, "kind": "InternalError"}})
        finally:
            self._over = True
            self._news.set()
            self._ended(self.session)

    def _say(self, value: Any) -> None:
        self._lines.append(line(value))
        self._news.set()


def told(event: Event) -> dict[str, Any]:
    """An event as the page reads it."""
    match event:
        case AnswerPiece(call=None):
            return {"thought" if event.kind == "reasoning" else "text": event.text}
        case AnswerPiece():
            call = event.call
            assert call is not None
            return {"call": {"index": call.number, "id": call.id, "name": call.name, "arguments": event.text}}
        case Progressed():
            return {"progress": {"stage": event.stage, "done": event.done, "total": event.total}}
        case Generated():
            return {"done": msgspec.to_builtins(event)}
        case ApiError():
            return {"failed": {**event.facts, "message": event.message, "kind": event.kind}}


class LiveAnswers:
    """By conversation: one at a time in each. `tell` is told of each that begins or ends."""

    def __init__(self, exchanges: Exchanges, tell: Callable[[dict[str, Any]], None]) -> None:
        self._exchanges = exchanges
        self._tell = tell
        self._running: dict[str, LiveAnswer] = {}

    def __contains__(self, session: str) -> bool:
        return session in self._running

    def names(self) -> list[str]:
        return list(self._running)

    def begin(self, session: str, order: Order, by: str | None) -> LiveAnswer:
        """`by` is the tab that has asked."""
        answer = self._running[session] = LiveAnswer(self._exchanges, session, order, self._forget)
        self._tell({"session": session, "change": "begun", "by": by})
        return answer

    def get(self, session: str) -> LiveAnswer | None:
        return self._running.get(session)

    def renamed(self, before: str, after: str) -> None:
        """A conversation has another name now; its answer goes on under that."""
        if before in self._running and after not in self._running:
            answer = self._running[after] = self._running.pop(before)
            answer.renamed(after)

    def _forget(self, session: str) -> None:
        del self._running[session]
        self._tell({"session": session, "change": "ended"})
