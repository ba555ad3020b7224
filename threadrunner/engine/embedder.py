"""Texts to vectors, and pairs of texts to scores, in a context of its own made on first need: each token gives output,
and nothing is shared."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from threadrunner.engine.errors import PromptTooLong, Unsupported
from threadrunner.engine.llama.context import FIRST, LAST, NOT_POOLED, OK, RANK, Context
from threadrunner.engine.llama.errors import DamagedModel, EngineError
from threadrunner.engine.llama.model import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TOKENS = 2048
_CHUNK = 512
"""Tokens of a step: of one long text, or of several short ones."""
_TEXTS = 16
"""Of these, in a step. The weights are read once for all of them, and each token still looks only at its own text."""


@dataclass(slots=True)
class EmbedJob:
    """One request: its texts' tokens, and the vectors made so far."""

    id: int
    texts: list[list[int]]
    dimensions: int | None = None
    """How many numbers of each vector are wanted, the first ones; None: all."""
    ranks: bool = False
    """Whether each text is a pair to be scored: its vector is the score alone."""
    vectors: list[list[float]] = field(default_factory=list)
    """One for each finished text: the model's n_embd_out floats, of length 1; all 0 for an empty text."""
    done: int = 0
    """Tokens of the text under way, where it is longer than a step."""
    total: list[float] = field(default_factory=list)
    """The sum of their vectors, of any length."""

    @property
    def complete(self) -> bool:
        return len(self.vectors) == len(self.texts)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.texts))

    @property
    def tokens_done(self) -> int:
        return sum(map(len, self.texts[: len(self.vectors)])) + self.done


def packed(texts: Sequence[Sequence[int]], first: int, tokens: int, count: int) -> int:
    """How many of the texts from `first` on make a step of at most so many tokens and texts: at least one, which may be
    longer than that."""
    taken = size = 0
    for text in texts[first : first + count]:
        size += len(text)
        if taken and size > tokens:
            break
        taken += 1
    return taken


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
        # A text is seen whole, and pooled by the model itself, where tokens look at those after them, no cache keeps
        # those before, or a head scores it; of others only the last 512 tokens' logits need memory at a time, and we
        # pool.
        self._whole = model.only_embeds or not remembers or pooling == RANK
        # An encoder, and a state that is not cells, is known to be right for one sequence at a time.
        self._seats = 1 if model.has_encoder or model.recurrent else _TEXTS
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

    def add(self, job: EmbedJob) -> None:
        """Take a request, each text as its tokens. Raises PromptTooLong, and Unsupported for a model that gives scores
        where vectors are asked for, or the other way about; it takes none of them then."""
        if job.ranks and self._pooling != RANK:
            raise Unsupported("this model is no reranker, it has no head that scores; use one that was made for it")
        if not job.ranks and self._pooling == RANK:
            raise Unsupported(
                "this model is a reranker: it scores how well a text answers a question and makes no embeddings;"
                " use a model that was made for embedding, or ask it with `rerank`"
            )
        for tokens in job.texts:
            if len(tokens) > self.limit:
                raise PromptTooLong(len(tokens), self.limit)
        self._jobs.append(job)

    def cancel(self, id: int) -> None:
        self._jobs = deque(job for job in self._jobs if job.id != id)

    def abandon(self) -> int:
        """Give up the first job, after `step` has failed with it; its id."""
        return self._jobs.popleft().id

    def step(self) -> EmbedJob:
        """Evaluate a part of the first job, which is `complete` then or goes on with the next step. Only while `busy`.
        Raises EngineError, after which that job cannot go on: see `abandon`."""
        job = self._jobs[0]
        if not job.complete:
            self._advance(job, self._ready_context())
        if job.complete:
            self._jobs.popleft()
        return job

    def _ready_context(self) -> Context:
        if self._context is None:
            self._context = self._new_context()
        return self._context

    def _new_context(self) -> Context:
        chunk = self.limit if self._whole else min(_CHUNK, self.limit)
        return Context(
            self._model,
            n_cells=self.limit,
            n_seq=self._seats,
            n_batch=chunk,
            n_ubatch=chunk,
            threads=self._threads,
            embeddings=True,
            pooling=None if self._whole else NOT_POOLED,
        )

    def _advance(self, job: EmbedJob, context: Context) -> None:
        first = len(job.vectors)
        count = packed(job.texts, first, min(_CHUNK, context.n_batch), self._seats)
        texts = job.texts[first : first + count]
        if count == 1 and len(texts[0]) > context.n_batch:
            self._embed_chunk(job, context, texts[0])
            return
        self._evaluate(context, texts, 0)
        begin = 0
        for seq, text in enumerate(texts):
            found = self._vector(context, seq, begin, len(text), job.ranks) if text else [0.0] * self._model.n_embd_out
            job.vectors.append(found if job.ranks else _normalized(found[: job.dimensions]))
            begin += len(text)

    def _embed_chunk(self, job: EmbedJob, context: Context, text: list[int]) -> None:
        """A part of a text that is longer than a step; the part's vectors go to the text's."""
        chunk = text[job.done : job.done + context.n_batch]
        self._evaluate(context, [chunk], job.done)
        if self._pooling != FIRST or not job.done:
            part = self._vector(context, 0, 0, len(chunk), job.ranks)
            whole = self._pooling in (FIRST, LAST) or not job.total
            job.total = part if whole else [sum(pair) for pair in zip(job.total, part, strict=True)]
        job.done += len(chunk)
        if job.done == len(text):
            job.vectors.append(_normalized(job.total[: job.dimensions]))
            job.done, job.total = 0, []

    def _evaluate(self, context: Context, texts: Sequence[Sequence[int]], position: int) -> None:
        """The texts, each a sequence of its own, from this position on. Raises EngineError."""
        if not any(texts):
            return
        if not position:
            for seq in range(self._seats):  # one by one: recurrent states refuse -1, which means all of them elsewhere
                context.remove(seq)  # also where a text before these was cancelled or has failed half way
        context.clear_batch()
        for seq, text in enumerate(texts):
            if text:
                context.add_all_outputs(seq, position, text)
        if (status := context.encode()) != OK:
            raise EngineError(f"llama_decode failed with {status}")

    def _vector(self, context: Context, seq: int, begin: int, size: int, ranks: bool) -> list[float]:
        """What the batch's tokens from `begin` on come to, pooled as llama.cpp pools where it sees a text whole."""
        if ranks:
            return [context.score(seq)]
        if context.pooling != NOT_POOLED:
            return context.pooled_embedding(seq)
        rows: NDArray[np.float32] = context.embeddings()[begin : begin + size]
        if self._pooling in (FIRST, LAST):
            return list(map(float, rows[0 if self._pooling == FIRST else -1]))
        return list(map(float, rows.sum(axis=0, dtype="float64")))

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
