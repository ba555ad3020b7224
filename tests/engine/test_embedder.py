"""Texts to vectors by chunks, on a context that makes them up."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from threadrunner.engine import embedder as embedder_module
from threadrunner.engine.embedder import Embedder, EmbedJob, packed
from threadrunner.engine.errors import PromptTooLong, Unsupported
from threadrunner.engine.llama.context import FIRST, LAST, MEAN, OK, RANK
from threadrunner.engine.llama.errors import EngineError

KIND = {"n_embd_out": 2, "has_encoder": False, "recurrent": False}
MODEL: Any = SimpleNamespace(**KIND, only_embeds=False)
WHOLE: Any = SimpleNamespace(**KIND, only_embeds=True)


def embedder_of(model: Any, pooling: int = MEAN, max_tokens: int = 100) -> Embedder:
    return Embedder(model, pooling=pooling, remembers=True, threads=1, max_tokens=max_tokens)


class FakeContext:
    """Each token t has the embedding (t, 1)."""

    made: list[FakeContext]

    def __init__(self, model: Any, *, n_batch: int, pooling: int | None, **options: Any) -> None:
        self.n_batch = n_batch
        self.pooling = MEAN if pooling is None else pooling
        self.status = OK
        self.batch: list[int] = []
        self.closed = False
        self.made.append(self)

    def clear_batch(self) -> None:
        self.batch = []

    def add_all_outputs(self, seq: int, position: int, tokens: list[int]) -> None:
        assert not self.closed
        self.batch += tokens

    def encode(self) -> int:
        return self.status

    def embeddings(self) -> np.ndarray[Any, Any]:
        return np.array([[token, 1.0] for token in self.batch], dtype="float32")

    def pooled_embedding(self, seq: int) -> list[float]:
        return [3.0, 4.0 + seq]

    def score(self, seq: int) -> float:
        return 0.5 - seq

    def remove(self, seq: int) -> None:
        pass

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@pytest.fixture(autouse=True)
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[FakeContext]:
    monkeypatch.setattr(embedder_module, "Context", FakeContext)
    monkeypatch.setattr(FakeContext, "made", [], raising=False)
    return FakeContext.made


def finished(embedder: Embedder) -> EmbedJob:
    while True:
        if (job := embedder.step()).complete:
            return job


def test_a_text_of_several_chunks_is_the_mean_of_its_tokens_with_length_one() -> None:
    embedder = embedder_of(MODEL, max_tokens=2048)
    embedder.add(EmbedJob(1, [[2] * 1200, [], [0]]))
    job = finished(embedder)
    assert (job.id, embedder.busy) == (1, False)
    length = math.hypot(2, 1)
    assert job.vectors[0] == pytest.approx([2 / length, 1 / length])
    assert job.vectors[1:] == [[0.0, 0.0], [0.0, 1.0]]


def test_a_model_that_sees_a_text_whole_pools_it_itself() -> None:
    embedder = embedder_of(WHOLE)
    embedder.add(EmbedJob(1, [[7, 8]]))
    assert finished(embedder).vectors == [pytest.approx([0.6, 0.8])]


@pytest.mark.parametrize(("pooling", "token"), [(FIRST, 3), (LAST, 9)])
def test_first_and_last_pooling_take_one_tokens_vector_across_chunks(pooling: int, token: int) -> None:
    embedder = embedder_of(MODEL, pooling, max_tokens=2048)
    embedder.add(EmbedJob(1, [[3] + [5] * 1000 + [9]]))
    length = math.hypot(token, 1)
    assert finished(embedder).vectors == [pytest.approx([token / length, 1 / length])]


def test_a_reranker_makes_no_vector() -> None:
    embedder = embedder_of(MODEL, RANK)
    with pytest.raises(Unsupported, match="reranker"):
        embedder.add(EmbedJob(1, [[1]]))
    assert not embedder.busy


def test_a_text_that_is_too_long_takes_no_other_with_it() -> None:
    embedder = embedder_of(MODEL, max_tokens=3)
    with pytest.raises(PromptTooLong):
        embedder.add(EmbedJob(1, [[1], [1] * 4]))
    assert not embedder.busy


def test_a_failed_chunk_is_an_error_of_its_job_alone(contexts: list[FakeContext]) -> None:
    embedder = embedder_of(MODEL, max_tokens=3)
    for id in (1, 2, 3, 4):
        embedder.add(EmbedJob(id, [[1]]))
    embedder.cancel(2)
    assert finished(embedder).id == 1
    contexts[0].status = -3
    with pytest.raises(EngineError, match="-3"):
        embedder.step()
    assert embedder.abandon() == 3
    contexts[0].status = OK
    assert finished(embedder).id == 4


def test_short_texts_share_a_step_and_a_long_one_has_it_alone() -> None:
    texts = [[1] * 200, [1] * 300, [1] * 13, [], [1] * 600, [1]]
    assert packed(texts, 0, 512, 16) == 2
    assert packed(texts, 2, 512, 16) == 2
    assert packed(texts, 4, 512, 16) == 1
    assert packed(texts, 5, 512, 16) == 1
    assert packed(texts, 0, 10_000, 3) == 3


def test_texts_of_one_step_keep_their_own_vectors() -> None:
    embedder = embedder_of(MODEL)
    embedder.add(EmbedJob(1, [[2], [], [0, 0], [3, 5]]))
    assert embedder.step().complete
    embedder.add(EmbedJob(2, [[2], [], [0, 0], [3, 5]]))
    two, none, zero, four = finished(embedder).vectors
    assert two == pytest.approx([2 / math.hypot(2, 1), 1 / math.hypot(2, 1)])
    assert (none, zero) == ([0.0, 0.0], [0.0, 1.0])
    assert four == pytest.approx([4 / math.hypot(4, 1), 1 / math.hypot(4, 1)])


def test_pairs_get_scores_as_they_are() -> None:
    embedder = embedder_of(WHOLE, RANK)
    embedder.add(EmbedJob(1, [[1, 2], [3]], ranks=True))
    assert finished(embedder).vectors == [[0.5], [-0.5]]


def test_what_is_no_reranker_scores_nothing() -> None:
    embedder = embedder_of(MODEL)
    with pytest.raises(Unsupported, match="no reranker"):
        embedder.add(EmbedJob(1, [[1]], ranks=True))


def test_fewer_dimensions_are_the_first_ones_at_length_one(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = embedder_of(MODEL)
    embedder.add(EmbedJob(1, [[3], [7, 1]], dimensions=1))
    assert finished(embedder).vectors == [[1.0], [1.0]]


def test_how_far_a_job_is() -> None:
    embedder = embedder_of(MODEL, max_tokens=2000)
    embedder.add(EmbedJob(1, [[2] * 1200, [1], [4] * 600]))
    told = []
    while embedder.busy:
        job = embedder.step()
        told.append((job.tokens_done, job.complete))
    assert job.tokens == 1801
    assert told == [(512, False), (1024, False), (1200, False), (1201, False), (1713, False), (1801, True)]
