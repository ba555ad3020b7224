"""Texts to vectors by chunks, on a context that makes them up."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from threadrunner.engine import embedder as embedder_module
from threadrunner.engine.embedder import Embedder, EmbedJob
from threadrunner.engine.errors import PromptTooLong
from threadrunner.engine.llama.context import OK
from threadrunner.engine.llama.errors import EngineError

MODEL: Any = SimpleNamespace(n_embd=2, only_embeds=False)


class FakeContext:
    """Each token t has the embedding (t, 1)."""

    made: list[FakeContext]
    pools = False

    def __init__(self, model: Any, *, n_batch: int, **options: Any) -> None:
        self.n_batch = n_batch
        self.status = OK
        self.batch: list[int] = []
        self.closed = False
        self.made.append(self)

    def clear_batch(self) -> None:
        self.batch = []

    def add_all_outputs(self, seq: int, position: int, tokens: list[int]) -> None:
        assert not self.closed
        self.batch += tokens

    def decode(self) -> int:
        return self.status

    def embedding(self, index: int) -> list[float]:
        return [float(self.batch[index]), 1.0]

    def pooled_embedding(self, seq: int) -> list[float]:
        return [3.0, 4.0]

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
        if (job := embedder.step()) is not None:
            return job


def test_a_text_of_several_chunks_is_the_mean_of_its_tokens_with_length_one() -> None:
    embedder = Embedder(MODEL, threads=1, max_tokens=2048)
    embedder.add(1, [[2] * 1200, [], [0]])
    job = finished(embedder)
    assert (job.id, embedder.busy) == (1, False)
    length = math.hypot(2, 1)
    assert job.vectors[0] == pytest.approx([2 / length, 1 / length])
    assert job.vectors[1:] == [[0.0, 0.0], [0.0, 1.0]]


def test_a_pooling_model_is_asked_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeContext, "pools", True)
    embedder = Embedder(SimpleNamespace(n_embd=2, only_embeds=True), threads=1, max_tokens=100)  # type: ignore[arg-type]
    embedder.add(1, [[7, 8]])
    assert finished(embedder).vectors == [pytest.approx([0.6, 0.8])]


def test_a_model_that_pools_unexpectedly_is_refused_each_time(
    monkeypatch: pytest.MonkeyPatch, contexts: list[FakeContext]
) -> None:
    """The context that was closed with the first refusal must not be used by the next."""
    monkeypatch.setattr(FakeContext, "pools", True)
    embedder = Embedder(MODEL, threads=1, max_tokens=100)
    for id in (1, 2):
        embedder.add(id, [[1]])
        with pytest.raises(EngineError, match="pools"):
            embedder.step()
        assert embedder.abandon() == [id]
    embedder.close()
    assert [context.closed for context in contexts] == [True, True]


def test_a_text_that_is_too_long_takes_no_other_with_it() -> None:
    embedder = Embedder(MODEL, threads=1, max_tokens=3)
    with pytest.raises(PromptTooLong):
        embedder.add(1, [[1], [1] * 4])
    assert not embedder.busy


def test_a_failed_chunk_is_an_error_of_all_jobs(contexts: list[FakeContext]) -> None:
    embedder = Embedder(MODEL, threads=1, max_tokens=3)
    for id in (1, 2, 3):
        embedder.add(id, [[1]])
    embedder.cancel(2)
    assert finished(embedder).id == 1
    contexts[0].status = -3
    with pytest.raises(EngineError, match="-3"):
        embedder.step()
    assert embedder.abandon() == [3]
