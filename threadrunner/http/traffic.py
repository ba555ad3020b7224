"""The requests under way, and whether more are let in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from threadrunner.http.failures import HttpFailure

BUSY = 64
"""Requests that may be under way; one more is told to come again."""


class Traffic:
    """Of one `serve`. `draining`: it is about to end, and only finishes what it has begun."""

    def __init__(self, most: int = BUSY) -> None:
        self.draining = False
        self._most = most
        self._running = 0
        self._listening = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.contextmanager
    def entered(self, listens: bool = False) -> Iterator[None]:
        """One request, for its time. One that only listens for news takes no other's place; the connections are its
        limit. Raises HttpFailure 429 where there are too many."""
        if not listens and self._running - self._listening >= self._most:
            text = "too many requests are under way; try again in a moment"
            raise HttpFailure(429, "rate_limit_error", text, "overloaded", headers={"retry-after": "1"})
        self._running += 1
        self._listening += listens
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            self._listening -= listens
            if not self._running:
                self._idle.set()

    async def idle(self) -> None:
        """Return once none is under way."""
        await self._idle.wait()
