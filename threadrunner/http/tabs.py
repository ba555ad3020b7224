"""What all tabs of the page are told: what another of them has changed, and what the daemon says of its models.

While a tab listens there is one more connection to the daemon. It starts no daemon, or `threadrunner stop` would be
undone by a tab that was left open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from threadrunner.api.errors import ApiError, Disconnected
from threadrunner.client import aio
from threadrunner.client.aio import AsyncConnection
from threadrunner.http.live import NOTHING, line
from threadrunner.http.streams import SILENCE

LOOK_EVERY = 2.0
"""Seconds between two looks for a daemon that has gone; nothing tells us of a new one."""


class Tabs:
    """Those that listen."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[dict[str, Any] | None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._daemon: str | None = None
        self._connection: AsyncConnection | None = None

    def tell(self, event: dict[str, Any]) -> None:
        for queue in self._queues:
            queue.put_nowait(event)

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Ask the daemon that is there. Raises ApiError, also where none is."""
        if self._connection is None:
            raise Disconnected("the daemon has ended; what you do next starts it")
        return await self._connection.request(method, params)

    def close(self) -> None:
        """End what they listen to."""
        for queue in self._queues:
            queue.put_nowait(None)

    async def listen(self) -> AsyncGenerator[bytes, None]:
        """Lines, as long as the tab is there; the first ones say whether there is a daemon."""
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._queues.add(queue)
        if self._watch is None:
            self._watch = asyncio.create_task(self._watched())
        elif self._daemon is not None:
            queue.put_nowait({"daemon": self._daemon})
        try:
            yield NOTHING
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        event = await queue.get()
                except TimeoutError:
                    yield NOTHING
                    continue
                if event is None:
                    return
                yield line(event)
        finally:
            self._queues.discard(queue)
            if not self._queues and self._watch is not None:
                self._watch.cancel()
                self._watch = None
                self._daemon = None

    async def _watched(self) -> None:
        while True:
            try:
                connection = await self._connected()
            except (OSError, ApiError):
                self._is("gone")
                await asyncio.sleep(LOOK_EVERY)
                continue
            try:
                with contextlib.suppress(ApiError):
                    await connection.request("subscribe", {"events": ["*"]})
                    self._connection = connection
                    self._is("there")
                    await connection.ended()
            finally:
                self._connection = None
                await connection.close()

    async def _connected(self) -> AsyncConnection:
        return await aio.connected(self.tell)

    def _is(self, state: str) -> None:
        if self._daemon != state:
            self._daemon = state
            self.tell({"daemon": state})
