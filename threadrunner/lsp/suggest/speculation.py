"""A guess at what comes next: while a suggestion is shown, the daemon works on what would follow it.

One guess at a time, in the background. If the person accepts the suggestion while the daemon still works on what
follows, the next request waits for that answer instead of beginning again.
"""

from __future__ import annotations

import asyncio
import contextlib

from threadrunner.lsp.suggest.ask import Figures
from threadrunner.lsp.suggest.cache import Cache, Key
from threadrunner.lsp.suggest.infill import InfillRequest
from threadrunner.lsp.suggest.infill_client import InfillClient


class Speculation:
    """At most one request under way; its texts are put in the cache."""

    def __init__(self, client: InfillClient, cache: Cache, figures: Figures) -> None:
        self._client = client
        self._cache = cache
        self._figures = figures
        self._key: Key | None = None
        self._task: asyncio.Task[None] | None = None

    def is_at(self, key: Key) -> bool:
        """Whether the last guess that was not stopped is for this place, under way or answered."""
        return self._key == key

    def start(self, key: Key, request: InfillRequest) -> None:
        """Ask for what follows at `key`; the guess before this one is cancelled."""
        if self._task is not None:
            self._task.cancel()
        self._key = key
        self._task = asyncio.create_task(self._ask(key, request))

    async def take_over(self, key: Key) -> bool:
        """Wait for the guess at `key`. Whether there was one; its texts, if any, are in the cache then."""
        if self._task is None or self._key != key:
            return False
        await asyncio.wait({self._task})
        return True

    def drop(self) -> asyncio.Task[None] | None:
        """Cancel the guess; the task that ends with it, if there was one."""
        task, self._task, self._key = self._task, None, None
        if task is None or task.done():
            return None
        task.cancel()
        return task

    async def stop(self) -> None:
        """Cancel the guess, and wait until the daemon has been told."""
        if (task := self.drop()) is not None:
            await asyncio.wait({task})

    async def _ask(self, key: Key, request: InfillRequest) -> None:
        self._figures.speculated += 1
        # A failed guess is not reported: the real request will meet the same failure.
        with contextlib.suppress(Exception):
            texts = await self._client.texts(request)
            if texts:
                self._cache.put(key, texts)
