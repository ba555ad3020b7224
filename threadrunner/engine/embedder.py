"""Texts to vectors, in a context of its own made on first need: each token gives output, and nothing is shared."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from threadrunner.engine.errors import PromptTooLong, Unsupported
from threadrunner.engine.llama.context import FIRST, LAST, NOT_POOLED, OK, RANK, Context
from threadrunner.engine.llama.errors import DamagedModel, EngineError
from threadrunner.engine.llama.model import Model

MAX_TOKENS = 2048
_CHUNK = 512


@dataclass(slots=True)
class EmbedJob:
    """One request: its texts' tokens, and the vectors made so far."""

    id: int
    texts: list[list[int]]
    vectors: list[list[float]] = field(default_factory=list)
    """One for each finished text: the model's n_embd_out floats, of length 1; all 0 for an empty text."""
    done: int = 0
    """Tokens of the text under way."""
    total: list[float] = field(default_factory=list)
    """The sum of their vectors, of any length."""


class Embedder:
    """The embed requests of one model, in the order of their arrival; a step evaluates one chunk of the first.

    The backend calls `step` beside Engine.step, on the computing thread, while `busy`: a step is bounded, so that
    texts and generation take turns.
    """

    def __init__(self, model: Model, *, pooling: int, remembers: bool, threads: int, max_tokens: int) -> None:
        """`pooling` and `remembers` are what a Context of the model says; `max_tokens` bounds one text, as MAX_TOKENS
        does."""
        self._model = model
        self._pooling = pooling
        # A text is seen whole, and pooled by the model itself, where tokens look at those after them or no cache keeps
        # those before; of other models only the last 512 tokens' logits need memory at a time, and we pool.
        self._whole = model.only_embeds or not remembers
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
            self._context.set_threads(threads, threads)

    def add(self, id: int, texts: list[list[int]]) -> None:
        """Take a request, each text as its tokens. Raises PromptTooLong, and Unsupported for a model that gives scores;
        it takes none of them then."""
        if self._pooling == RANK:
            raise Unsupported(
                "this model is a reranker: it scores how well a text answers a question and makes no embeddings;"
                " use a model that was made for embedding"
            )
        for tokens in texts:
            if len(tokens) > self.limit:
                raise PromptTooLong(len(tokens), self.limit)
        self._jobs.append(EmbedJob(id, texts))

    def cancel(self, id: int) -> None:
        self._jobs = deque(job for job in self._jobs if job.id != id)

    def abandon(self) -> int:
        """Give up the first job, after `step` has failed with it; its id."""
        return self._jobs.popleft().id

    def step(self) -> EmbedJob | None:
        """Evaluate a chunk of the first job; the job when that completes it. Only while `busy`. Raises EngineError,
        after which that job cannot go on: see `abandon`."""
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
        chunk = self.limit if self._whole else min(_CHUNK, self.limit)
        return Context(
            self._model,
            n_cells=self.limit,
            n_seq=1,
            n_batch=chunk,
            n_ubatch=chunk,
            threads=self._threads,
            embeddings=True,
            pooling=None if self._whole else NOT_POOLED,
        )

    def _embed_chunk(self, job: EmbedJob, context: Context) -> None:
        tokens = job.texts[len(job.vectors)]
        if not tokens:
            job.vectors.append([0.0] * self._model.n_embd_out)
            return
        chunk = tokens[job.done : job.done + context.n_batch]
        if not job.done:
            context.remove(0)  # a text before this one may have been cancelled or have failed half way
        context.clear_batch()
        context.add_all_outputs(0, job.done, chunk)
        if (status := context.encode()) != OK:
            raise EngineError(f"llama_decode failed with {status}")
        self._pool(job, context, len(chunk))
        job.done += len(chunk)
        if job.done == len(tokens):
            job.vectors.append(_normalized(job.total))
            job.done, job.total = 0, []

    def _pool(self, job: EmbedJob, context: Context, size: int) -> None:
        """Take what the chunk gives to the text's vector, as llama.cpp pools where it sees the text whole."""
        if context.pooling != NOT_POOLED:
            job.total = context.pooled_embedding(0)
        elif self._pooling == LAST:
            job.total = context.embedding(size - 1)
        elif self._pooling == FIRST:
            job.total = job.total or context.embedding(0)
        else:
            rows = [context.embedding(i) for i in range(size)]
            job.total = [sum(column) for column in zip(*rows, *([job.total] if job.total else []), strict=True)]

    def close(self) -> None:
        if self._context is not None:
            self._context.close()


def _normalized(vector: list[float]) -> list[float]:
    """Length 1: of a mean only the direction counts, so the sum serves as well. Raises DamagedModel for what is no
    vector: JSON has no number for it."""
    length = math.sqrt(sum(x * x for x in vector))
    if not math.isfinite(length):
        raise DamagedModel("the model's embedding is not a number: its weights are damaged, or too large for its type")
    return [x / length for x in vector] if length else vector
