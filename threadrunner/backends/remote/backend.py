"""The backend `remote`: a thread with an event loop asks the server, the computing thread takes what came of it.

Any number of requests is under way at once, each a task of the loop; to cancel one is to cancel its task, which hangs
up. A step waits for something to happen, a quarter of a second at most, and gives what has come since the last one,
joined: a token costs one look at a queue, and many at once cost no more.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import UNSET

from threadrunner.api.errors import ApiError, InternalError, Overloaded
from threadrunner.backends.base import Event, Failed, Finished, ModelFacts, ModelSpec, Params, Piece
from threadrunner.backends.remote.asked import Asker

log = logging.getLogger("threadrunner.backends.remote")

LOOK_EVERY = 0.25
"""Seconds: the longest step. A message that arrives ends it at once."""
END_WITHIN = 2.0
"""Seconds for open connections to be hung up on."""


class RemoteBackend:
    """See threadrunner.backends.base."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._open: set[int] = set()
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._tasks: dict[int, asyncio.Task[None]] = {}
        """Of the loop's thread."""
        self._asker: Asker | None = None
        self._max_open = 0

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        """Connects to no one: a server that is away for a moment must not count as a model that cannot be loaded."""
        assert spec.remote is not None, "the daemon gives a server to this backend"
        # httpcore2 writes headers, and with them the key, where its loggers are at debug.
        logging.disable(logging.DEBUG)
        self._max_open = spec.max_queued or 1
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asking", daemon=True)
        self._thread.start()
        made = asyncio.run_coroutine_threadsafe(
            _made(functools.partial(Asker, spec.remote, self._events.put)), self._loop
        )
        self._asker = made.result()
        report(1, 1)
        host = urlsplit(spec.remote.url).hostname or ""
        return ModelFacts(context=0, facts={"backend": "remote", "host": host, "url": spec.remote.url})

    def submit(self, id: int, params: Params) -> None:
        if len(self._open) >= self._max_open:
            raise Overloaded(
                f"{len(self._open)} requests to this server are under way, as many as max_queued allows",
                queued=len(self._open), limit=self._max_open,
            )  # fmt: skip
        self._open.add(id)
        self._loop.call_soon_threadsafe(self._begin, id, params)

    def step(self) -> list[Event]:
        events: list[Event] = []
        try:
            event = self._events.get(timeout=LOOK_EVERY)
        except queue.Empty:
            return []
        while True:
            if event is not None and event.id in self._open:
                events.append(event)
                if isinstance(event, (Finished, Failed)):
                    self._open.discard(event.id)
            if self._events.empty():
                return joined(events)
            event = self._events.get()

    def cancel(self, id: int) -> None:
        self._open.discard(id)
        self._loop.call_soon_threadsafe(self._end, id)

    def close(self) -> None:
        self._open.clear()
        if self._asker is not None:
            self._loop.call_soon_threadsafe(self._stop)
            self._thread.join(END_WITHIN)
            if not self._thread.is_alive():
                self._loop.close()

    def gauges(self) -> dict[str, int | float]:
        """What was sent and received are tokens, as the server counts them."""
        asker = self._asker
        counts = {} if asker is None else {"sent_tokens": asker.sent_tokens, "received_tokens": asker.received_tokens}
        return {"active": len(self._open), "queued": 0, **counts}

    # on the listening thread

    def interrupt_submit(self, _priority: str) -> None:
        self._events.put(None)

    def interrupt_cancel(self, _id: int | None) -> None:
        self._events.put(None)

    # on the loop's thread

    def _begin(self, id: int, params: Params) -> None:
        task = self._tasks[id] = self._loop.create_task(self._answered(id, params))
        task.add_done_callback(lambda _: self._tasks.pop(id, None))

    async def _answered(self, id: int, params: Params) -> None:
        assert self._asker is not None
        try:
            await self._asker.answer(id, params)
        except ApiError as error:
            self._events.put(Failed(id, error.code, error.message, error.data))
        except Exception as error:  # a defect of ours ends one request, not those beside it
            log.exception("a request to another machine")
            failure = InternalError(f"a defect of threadrunner's: {type(error).__name__}; the log has more")
            self._events.put(Failed(id, failure.code, failure.message, failure.data))

    def _end(self, id: int) -> None:
        if task := self._tasks.get(id):
            task.cancel()

    def _stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        ending = self._loop.create_task(self._ended())
        ending.add_done_callback(lambda _: self._loop.stop())

    async def _ended(self) -> None:
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._asker is not None:
            await self._asker.close()


async def _made(make: Callable[[], Asker]) -> Asker:
    return make()


def joined(events: list[Event]) -> list[Event]:
    """The same with neighbours of one text as one piece."""
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, Piece) and isinstance(last, Piece) and _goes_on(last, event):
            found[-1] = Piece(last.id, last.index, last.text + event.text, last.kind, last.call)
        else:
            found.append(event)
    return found


def _goes_on(last: Piece, piece: Piece) -> bool:
    if (last.id, last.index, last.kind) != (piece.id, piece.index, piece.kind):
        return False
    if last.call is None or piece.call is None:
        return last.call is piece.call
    # The first piece of a call has its name, and no text: it stays apart.
    return last.call.index == piece.call.index and last.call.id is UNSET and piece.call.id is UNSET
