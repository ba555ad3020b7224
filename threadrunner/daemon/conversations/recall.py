"""`memory.*`, and `generate` with `memory`: the store's answers with the model's embeddings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from threadrunner.api.conversations import MemoryAddParams, MemoryDeleteParams, MemoryListParams, Note, Notes, Source
from threadrunner.api.errors import ApiError
from threadrunner.api.fields import Priority
from threadrunner.daemon.conversations import notes
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.peer import Call

if TYPE_CHECKING:
    from threadrunner.daemon.methods.generation import Daemon

log = logging.getLogger("threadrunner.daemon.memories")

BATCH = 8
AT_ONCE = 128
"""Passages that get their vectors after one request; the rest after the next ones."""

QUERY_CHARS = 2000

Embed = Callable[[list[str], Priority], Awaitable[tuple[str, list[list[float]]]]]
"""Texts and a priority to the model's name and vectors. Raises ApiError where the backend makes none."""


class Memory:
    """Recalls for prompts, and in idle time has the passages embedded that are not yet."""

    def __init__(self, sessions: Conversations) -> None:
        self._sessions = sessions
        self._filling: asyncio.Task[None] | None = None

    async def recall(
        self, text: str, embed: Embed | None, without: int | None, limit: int = notes.PASSAGES
    ) -> list[Source]:
        vector: Sequence[float] | None = None
        model = ""
        if embed is not None:
            with contextlib.suppress(ApiError):  # a backend without embeddings: words alone then
                model, (vector,) = await embed([text[:QUERY_CHARS]], "interactive")
        return await self._sessions.run(
            lambda store: notes.recall(store, text, vector=vector, model=model, without=without, limit=limit)
        )

    def fill(self, embed: Embed) -> None:
        """Have passages embedded, unless that is going on."""
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill(embed))

    async def _fill(self, embed: Embed) -> None:
        try:
            model, _ = await embed(["."], "background")  # its name, or that it embeds nothing
            for _ in range(AT_ONCE // BATCH):
                missing = await self._sessions.run(lambda store: notes.without_vector(store, model, BATCH))
                if not missing:
                    return
                _, vectors = await embed([text for _, text in missing], "background")
                kept = [(key, vector) for (key, _), vector in zip(missing, vectors, strict=True)]
                await self._sessions.run(lambda store, kept=kept: notes.keep_vectors(store, model, kept))  # type: ignore[misc]
        except ApiError as error:
            log.debug("no embeddings: %s", error.message)

    async def close(self) -> None:
        if self._filling is not None:
            self._filling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._filling


async def add(daemon: Daemon, call: Call, params: MemoryAddParams) -> Note:
    now = time.time()
    return await daemon.sessions.run(lambda store: notes.add(store, params.text, now))


async def listing(daemon: Daemon, call: Call, params: MemoryListParams) -> Notes:
    return await daemon.sessions.run(lambda store: notes.listing(store, params.limit))


async def delete(daemon: Daemon, call: Call, params: MemoryDeleteParams) -> Note:
    return await daemon.sessions.run(lambda store: notes.delete(store, params.note))
