"""What the daemon tells of its models, for all that listen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

ROOM = 256
"""Events that may wait for a listener; one that has not taken them by then is let go."""


class News:
    """Events, to each listener in order. None is the end."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[dict[str, Any] | None]] = set()

    @contextlib.contextmanager
    def heard(self) -> Iterator[asyncio.Queue[dict[str, Any] | None]]:
        """Events from now on."""
        listener: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def tell(self, event: dict[str, Any]) -> None:
        for listener in list(self._listeners):
            if listener.qsize() >= ROOM:
                self._listeners.discard(listener)
                listener.put_nowait(None)
            else:
                listener.put_nowait(event)

    def end(self) -> None:
        for listener in self._listeners:
            listener.put_nowait(None)
