"""What is told to all that listen: what the daemon says of its models, and what a tab of the page has changed.

While anyone listens there is one more connection to the daemon, one for all. It starts none, or `threadrunner stop`
would be undone by a tab that was left open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from threadrunner.api.errors import ApiError, Disconnected
from threadrunner.client import aio
from threadrunner.client.aio import AsyncConnection

ROOM = 256
"""Events that may wait for a listener; one that has not taken them by then is let go."""

LOOK_EVERY = 2.0
"""Seconds between two looks for a daemon that has gone; nothing tells us of one that another program starts."""

Listener = asyncio.Queue[dict[str, Any] | None]


class News:
    """Events, to each listener in order. None is the end."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._present = 0  # listeners, and those that wait to be told whether there is a daemon
        self._watch: asyncio.Task[None] | None = None
        self._connection: AsyncConnection | None = None
        self._looked = asyncio.Event()
        self._sooner = asyncio.Event()

    @contextlib.asynccontextmanager
    async def heard(self) -> AsyncIterator[Listener]:
        """Events from now on; the first says whether there is a daemon, `{"daemon": "there"}` or `"gone"`, as does one
        whenever that changes."""
        listener: Listener = asyncio.Queue()
        self._present += 1
        if self._watch is None:
            self._looked.clear()
            self._watch = asyncio.create_task(self._watched())
        try:
            await self._looked.wait()
            listener.put_nowait(self._state())
            self._listeners.add(listener)
            yield listener
        finally:
            self._listeners.discard(listener)
            self._present -= 1
            if not self._present and self._watch is not None:
                self._watch.cancel()
                self._watch = self._connection = None

    def tell(self, event: dict[str, Any]) -> None:
        for listener in list(self._listeners):
            if listener.qsize() >= ROOM:
                self._listeners.discard(listener)
                listener.put_nowait(None)
            else:
                listener.put_nowait(event)

    def look(self) -> None:
        """Look for a daemon at once: there is one now."""
        self._sooner.set()

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Ask the daemon that is there. Raises ApiError, also where none is."""
        if self._connection is None:
            raise Disconnected("the daemon has ended; what you do next starts it")
        return await self._connection.request(method, params)

    def end(self) -> None:
        for listener in self._listeners:
            listener.put_nowait(None)

    def _state(self) -> dict[str, Any]:
        return {"daemon": "gone" if self._connection is None else "there"}

    async def _watched(self) -> None:
        while True:
            try:
                connection = await aio.connected(self.tell)
            except (OSError, ApiError):
                self._looked.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._sooner.wait()
                self._sooner.clear()
                continue
            try:
                with contextlib.suppress(ApiError):
                    await connection.request("subscribe", {"events": ["*"]})
                    self._is(connection)
                    await connection.ended()
            finally:
                if self._watch is asyncio.current_task():  # or the next one's listeners would be told that it has gone
                    self._is(None)
                await connection.close()

    def _is(self, connection: AsyncConnection | None) -> None:
        before, self._connection = self._connection, connection
        if before is not connection:
            self.tell(self._state())
        self._looked.set()
