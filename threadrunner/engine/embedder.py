"""Texts to vectors, in a context of its own made on first need: each token gives output, and nothing is shared."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from threadrunner.engine.errors import PromptTooLong
from threadrunner.engine.llama.context import OK, Context
from threadrunner.engine.llama.errors import EngineError
from threadrunner.engine.llama.model import Model

MAX_TOKENS = 2048
_CHUNK = 512


@dataclass(slots=True)
class EmbedJob:
    """One request: its texts' tokens, and the vectors made so far."""

    id: int
    texts: list[list[int]]
    vectors: list[list[float]] = field(default_factory=list)
    """One for each finished text: the model's n_embd floats, of length 1; all 0 for an empty text."""
    done: int = 0
    """Tokens of the text under way."""
    total: list[float] = field(default_factory=list)
    """The sum of their vectors, of any length."""


class Embedder:
    """The embed requests of one model, in the order of their arrival; a step evaluates one chunk of the first.

    The backend calls `step` beside Engine.step, on the computing thread, while `busy`: a step is bounded, so that
    texts and generation take turns.
    """

    def __init__(self, model: Model, *, threads: int, max_tokens: int) -> None:
        """`max_tokens` bounds one text, as MAX_TOKENS does."""
        self._model = model
        self._threads = threads
        self.limit = min(max_tokens, MAX_TOKENS)
        self._context: Context | None = None
        self._jobs: deque[EmbedJob] = deque()

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    def set_threads(self, threads: int) -> None:
        self._threads = threads
        if self._context is not None:
            self._context.set_threads(threads)

    def add(self, id: int, texts: list[list[int]]) -> None:
        """Take a request, each text as its tokens. Raises PromptTooLong, and takes none of them then."""
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
        """Evaluate a chunk of the first job; the job when that completes it. Only while `busy`. Raises EngineError,
        after which nothing can be embedded: see `abandon`."""
        job = self._jobs[0]
        if len(job.vectors) < len(job.texts):
            self._embed_chunk(job, self._ready_context())
        if len(job.vectors) == len(job.texts):
            self._jobs.popleft()
            return job
        return None

    def _ready_context(self) -> Context:
        if self._context is None:
            self._context = self._new_context()
        return self._context

    def _new_context(self) -> Context:
        # models made for embedding pool in the graph and must see a text whole; others are pooled here, by chunks
        pooled = self._model.only_embeds
        chunk = self.limit if pooled else min(_CHUNK, self.limit)
        context = Context(
            self._model,
            n_cells=self.limit,
            n_seq=1,
            n_batch=chunk,
            n_ubatch=chunk,
            threads=self._threads,
            embeddings=True,
        )
        if context.pools and not pooled:
            context.close()
            raise EngineError("this model pools embeddings in a way that is not supported")
        return context

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
        if context.pools:
            job.total = context.pooled_embedding(0)
        else:
            rows = [context.embedding(i) for i in range(len(chunk))]
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
