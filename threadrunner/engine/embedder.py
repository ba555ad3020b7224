"""Texts to vectors, in a context of its own made on first need: each token gives output, and nothing is shared."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from threadrunner.engine.errors import EngineError, PromptTooLong
from threadrunner.engine.llama.library import OK, Context, L, Model

MOST_TOKENS = 2048
_CHUNK = 512


@dataclass(slots=True)
class EmbedJob:
    """One request: its texts' tokens, and the vectors made so far."""

    id: int
    texts: list[list[int]]
    vectors: list[list[float]] = field(default_factory=list)
    done: int = 0
    """Tokens of the text under way."""
    total: list[float] = field(default_factory=list)


class Embedder:
    def __init__(self, model: Model, *, threads: int, most_tokens: int) -> None:
        self._model = model
        self._threads = threads
        self.limit = min(most_tokens, MOST_TOKENS)
        self._context: Context | None = None
        self._pooled = False
        self._jobs: deque[EmbedJob] = deque()

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    def set_threads(self, threads: int) -> None:
        self._threads = threads
        if self._context is not None:
            self._context.set_threads(threads)

    def add(self, id: int, texts: list[list[int]]) -> None:
        for tokens in texts:
            if len(tokens) > self.limit:
                raise PromptTooLong(len(tokens), self.limit)
        self._jobs.append(EmbedJob(id, texts))

    def cancel(self, id: int) -> None:
        self._jobs = deque(job for job in self._jobs if job.id != id)

    def abandon(self) -> list[int]:
        """Give up all jobs; their ids."""
        ids = [job.id for job in self._jobs]
        self._jobs.clear()
        return ids

    def step(self) -> EmbedJob | None:
        """Evaluate a chunk of the first job; the job when that completes it."""
        job = self._jobs[0]
        if len(job.vectors) < len(job.texts):
            self._embed_chunk(job, self._ready_context())
        if len(job.vectors) == len(job.texts):
            self._jobs.popleft()
            return job
        return None

    def _ready_context(self) -> Context:
        if self._context is None:
            # models made for embedding pool in the graph and must see a text whole; others are pooled here, by chunks
            pooled = self._model.only_embeds
            chunk = self.limit if pooled else min(_CHUNK, self.limit)
            self._context = Context(
                self._model,
                n_cells=self.limit,
                n_seq=1,
                n_batch=chunk,
                n_ubatch=chunk,
                threads=self._threads,
                embeddings=True,
            )
            self._pooled = bool(L.llama_pooling_type(self._context.handle) != 0)
            if self._pooled and not pooled:
                self._context.close()
                raise EngineError("this model pools embeddings in a way that is not supported")
        return self._context

    def _embed_chunk(self, job: EmbedJob, context: Context) -> None:
        tokens = job.texts[len(job.vectors)]
        if not tokens:
            job.vectors.append([0.0] * self._model.n_embd)
            return
        chunk = tokens[job.done : job.done + context.n_batch]
        context.clear_batch()
        context.add_all_outputs(0, job.done, chunk)
        if (status := context.decode()) != OK:
            raise EngineError(f"llama_decode failed with {status}")
        job.done += len(chunk)
        size = self._model.n_embd
        if self._pooled:
            job.total = list(L.llama_get_embeddings_seq(context.handle, 0)[:size])
        else:
            rows = [L.llama_get_embeddings_ith(context.handle, i)[:size] for i in range(len(chunk))]
            job.total = [sum(column) for column in zip(*rows, *([job.total] if job.total else []), strict=True)]
        if job.done == len(tokens):
            job.vectors.append(_normalized(job.total))
            job.done, job.total = 0, []
            context.remove(0)

    def close(self) -> None:
        if self._context is not None:
            self._context.close()


def _normalized(vector: list[float]) -> list[float]:
    """Length 1: of a mean only the direction counts, so the sum serves as well."""
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector] if length else vector
