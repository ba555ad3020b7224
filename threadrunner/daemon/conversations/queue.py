"""Conversations, as the event loop sees them: one thread for the file, one turn at a time for each conversation.

A turn is on the disk before its generation begins, and its place in the conversation is settled then: clients that
share one are answered in that order, each seeing what the one before was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadrunner.api.errors import StorageFailed
from threadrunner.daemon.conversations import turns
from threadrunner.daemon.conversations.store import Store
from threadrunner.daemon.conversations.turns import OpenTurn

log = logging.getLogger("threadrunner.daemon.sessions")

T = TypeVar("T")


class Conversations:
    """The file is opened for the first job: a daemon without conversations never opens it. Each job looks first
    whether the file is still in its place."""

    def __init__(self, path: str) -> None:
        self.arrivals = asyncio.Lock()
        """Held from a request's arrival until its turn is in the file, since that takes more than one job: turns keep
        the order of arrival, and what is asked of the file after them finds them there."""
        self._path = path
        self._store: Store | None = None
        self._thread = ThreadPoolExecutor(1, "sessions")
        self._turns: dict[int, _TurnQueue] = {}

    async def run(self, work: Callable[[Store], T], opened: OpenTurn | None = None) -> T:
        """What `work` returns, done on the file's thread in the order of the calls. It is done even where the caller
        is cancelled: an answer must be kept though its client has gone. `opened`: see `submit`. Raises ApiError."""
        return await asyncio.shield(asyncio.wrap_future(self.submit(work, opened)))

    async def run_in_order(self, work: Callable[[Store], T]) -> T:
        """`run`, after the turns of all requests that arrived before. Raises ApiError."""
        async with self.arrivals:
            job = self.submit(work)
        return await asyncio.shield(asyncio.wrap_future(job))

    def submit(self, work: Callable[[Store], T], opened: OpenTurn | None = None) -> Future[T]:
        """Have it done, without waiting. Work on the turn `opened` fails with StorageFailed where the file that it is
        in is not there any more: its numbers mean other turns in another file."""
        return self._thread.submit(self._run, work, opened)

    def _run(self, work: Callable[[Store], T], opened: OpenTurn | None) -> T:
        store = self._current()
        if opened is not None and opened.store != store.number:
            raise StorageFailed(
                f"the file of the conversations, {self._path}, was moved or replaced while {opened.name!r} was "
                "answered, so this answer is not kept; what comes next goes into the file that is there now"
            )
        turns.mark_lost(store)
        return work(store)

    def _current(self) -> Store:
        if self._store is not None and (self._store.broken or not self._store.in_place):
            log.warning("%s has failed, or is not the file that was opened: it is opened again", self._path)
            old, self._store = self._store, None
            old.close()
        if self._store is None:
            self._store = Store(self._path)
        return self._store

    @contextlib.asynccontextmanager
    async def turn(self, opened: OpenTurn) -> AsyncIterator[None]:
        """Held while a conversation's turn is answered; the others wait, and each of them can be cancelled."""
        queue = self._turns.setdefault(opened.session, _TurnQueue())
        queue.users += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del self._turns[opened.session]

    async def close(self) -> None:
        """Everything that was submitted is done first."""

        def end() -> None:
            if self._store:
                self._store.close()

        await asyncio.wrap_future(self._thread.submit(end))
        self._thread.shutdown(wait=False)


class _TurnQueue:
    """The turns of one conversation that are answered or wait; asyncio's lock is first come, first served."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
