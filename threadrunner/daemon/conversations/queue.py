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

from threadrunner.daemon.conversations.store import OpenTurn, Store

log = logging.getLogger("threadrunner.daemon.sessions")

T = TypeVar("T")


class Conversations:
    """The file is opened by the first who needs it: a daemon that nobody has a conversation with never does."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._store: Store | None = None
        self._thread = ThreadPoolExecutor(1, "sessions")
        self._turns: dict[int, TurnQueue] = {}

    async def run(self, work: Callable[[Store], T]) -> T:
        """What `work` returns, done on the file's thread in the order of the calls. It is done even where the caller
        is cancelled: an answer must be kept though its client has gone. Raises ApiError."""
        return await asyncio.shield(asyncio.wrap_future(self.queue(work)))

    def queue(self, work: Callable[[Store], T]) -> Future[T]:
        """Have it done, without waiting."""
        return self._thread.submit(self._run, work)

    def _run(self, work: Callable[[Store], T]) -> T:
        if self._store is None:
            self._store = Store(self._path)
        return work(self._store)

    @contextlib.asynccontextmanager
    async def turn(self, begun: OpenTurn) -> AsyncIterator[None]:
        """Held while a conversation's turn is answered; the others wait, each can be cancelled."""
        line = self._turns.setdefault(begun.session, TurnQueue())
        line.users += 1
        try:
            async with line.lock:
                yield
        finally:
            line.users -= 1
            if not line.users:
                del self._turns[begun.session]

    async def close(self) -> None:
        """Everything that was queued is done first."""

        def end() -> None:
            if self._store:
                self._store.close()

        await asyncio.wrap_future(self._thread.submit(end))
        self._thread.shutdown(wait=False)


class TurnQueue:
    """Those who have or wait for one conversation; asyncio's lock is first come, first served."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
