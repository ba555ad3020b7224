"""Conversations, as the event loop sees them: one thread for the file, one turn at a time for each conversation.

A turn is on the disk before its generation begins, and its place in the conversation is settled then: clients that
share one are answered in that order, each seeing what the one before was told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadrunner.daemon.conversations.store import Store
from threadrunner.daemon.conversations.turns import OpenTurn

T = TypeVar("T")


class Conversations:
    """The file is opened for the first job: a daemon without conversations never opens it."""

    def __init__(self, path: str) -> None:
        self.arrivals = asyncio.Lock()
        """Held from a request's arrival until its turn is in the file, since that takes more than one job: turns keep
        the order of arrival, and what is asked of the file after them finds them there."""
        self._path = path
        self._store: Store | None = None
        self._thread = ThreadPoolExecutor(1, "sessions")
        self._turns: dict[int, _TurnQueue] = {}

    async def run(self, work: Callable[[Store], T]) -> T:
        """What `work` returns, done on the file's thread in the order of the calls. It is done even where the caller
        is cancelled: an answer must be kept though its client has gone. Raises ApiError."""
        return await asyncio.shield(asyncio.wrap_future(self.submit(work)))

    async def run_in_order(self, work: Callable[[Store], T]) -> T:
        """`run`, after the turns of all requests that arrived before. Raises ApiError."""
        async with self.arrivals:
            job = self.submit(work)
        return await asyncio.shield(asyncio.wrap_future(job))

    def submit(self, work: Callable[[Store], T]) -> Future[T]:
        """Have it done, without waiting."""
        return self._thread.submit(self._run, work)

    def _run(self, work: Callable[[Store], T]) -> T:
        if self._store is None:
            self._store = Store(self._path)
        return work(self._store)

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
