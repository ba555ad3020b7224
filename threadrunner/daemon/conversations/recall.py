"""What is remembered, for a prompt: the store's passages by their words, and by meaning where a model embeds them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Sequence
from typing import Protocol

from threadrunner.api.conversations import Source
from threadrunner.api.errors import ApiError
from threadrunner.api.fields import Priority
from threadrunner.daemon.conversations import notes
from threadrunner.daemon.conversations.queue import Conversations

log = logging.getLogger("threadrunner.daemon.memories")

BATCH = 8
AT_ONCE = 128
"""Passages that get their vectors after one request; the rest after the next ones."""

QUERY_CHARS = 2000


class TextEmbedder(Protocol):
    """A model that turns texts into vectors."""

    async def embed(self, texts: list[str], priority: Priority) -> tuple[str, list[list[float]]]:
        """The model's name, and a vector of length 1 for each text. Raises ApiError where the backend makes none."""


class Recall:
    """Finds passages for prompts, and in idle time has those embedded that have no vector yet."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._filling: asyncio.Task[None] | None = None

    async def search(
        self, text: str, embedder: TextEmbedder | None, exclude_session: int | None = None, limit: int = notes.PASSAGES
    ) -> list[Source]:
        """At most `limit` passages that are relevant to `text`, the most relevant first. `exclude_session` is a
        conversation whose turns the model sees anyway. Raises StorageFailed."""
        vector: Sequence[float] | None = None
        model = ""
        if embedder is not None:
            with contextlib.suppress(ApiError):  # a backend without embeddings: words alone then
                name, (vector,) = await embedder.embed([text[:QUERY_CHARS]], "interactive")
                model = vector_space(name)
        return await self._conversations.run(
            lambda store: notes.recall(
                store, text, vector=vector, model=model, exclude_session=exclude_session, limit=limit
            )
        )

    def fill(self, embedder: TextEmbedder) -> None:
        """Have passages embedded in the background, unless that is happening already."""
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill(embedder))

    async def _fill(self, embedder: TextEmbedder) -> None:
        run = self._conversations.run
        try:
            name, _ = await embedder.embed(["."], "background")  # its name, or that it embeds nothing
            model = vector_space(name)
            for _ in range(AT_ONCE // BATCH):
                missing = await run(functools.partial(notes.without_vector, model=model, limit=BATCH))
                if not missing:
                    return
                _, made = await embedder.embed([text for _, text in missing], "background")
                vectors = [(key, vector) for (key, _), vector in zip(missing, made, strict=True)]
                await run(functools.partial(notes.save_vectors, model=model, vectors=vectors))
        except ApiError as error:
            log.debug("no embeddings: %s", error.message)
        except Exception:  # a defect, which no request waits for; these passages get their vectors another time
            log.exception("embedding what is remembered")

    async def close(self) -> None:
        """End what happens in the background; however that ended, it is no reason not to end the rest."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait({self._filling})


def vector_space(model: str) -> str:
    """Under which name the vectors of a model are kept: only those that were made in the same way can be compared.

    Those without a mark are from before texts had the tokens around them that the model asks for (EOS, [SEP], [CLS]);
    they are made again in idle time.
    """
    return f"{model} (2)"
