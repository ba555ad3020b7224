"""Handlers of memory.*: notes, and the search for what is remembered."""

from __future__ import annotations

import time

from threadrunner.api.conversations import (
    MemoryAddParams,
    MemoryDeleteParams,
    MemoryListParams,
    MemorySearchParams,
    Note,
    Notes,
    Recalled,
)
from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.conversations import notes
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.recall import Recall
from threadrunner.daemon.methods.context import Call, Handler, plain
from threadrunner.daemon.methods.generation import Generation, ModelEmbedder
from threadrunner.daemon.workers.fleet import Fleet


class MemoryMethods:
    """Each asks the store one thing; a search may ask a loaded model too."""

    def __init__(self, conversations: Conversations, recall: Recall, generation: Generation, fleet: Fleet) -> None:
        self._conversations = conversations
        self._recall = recall
        self._generation = generation
        self._fleet = fleet

    def handlers(self) -> dict[str, Handler]:
        return {
            "memory.add": plain(self.add),
            "memory.list": plain(self.listing),
            "memory.search": self.search,
            "memory.delete": plain(self.delete),
        }

    async def add(self, params: MemoryAddParams) -> Note:
        now = time.time()
        return await self._conversations.run(lambda store: notes.add(store, params.text, now))

    async def listing(self, params: MemoryListParams) -> Notes:
        return await self._conversations.run(lambda store: notes.listing(store, params.limit))

    async def search(self, call: Call, params: MemorySearchParams) -> Recalled:
        """By meaning too where a model is loaded: a search is no reason to load one."""
        loaded = next((resident for resident in self._fleet.loaded if resident.backend == "llama"), None)
        embedder = None
        if loaded is not None:
            target = GenerateParams(model=loaded.model.path, backend="llama")
            embedder = ModelEmbedder(self._generation, target, call.outlet)
        return Recalled(await self._recall.search(params.query, embedder, limit=params.limit))

    async def delete(self, params: MemoryDeleteParams) -> Note:
        return await self._conversations.run(lambda store: notes.delete(store, params.note))
