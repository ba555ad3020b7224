"""Models of every kind, as they come: one embeds as its file says, or is refused in words; none ends the worker."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded, greedy
from threadrunner.api import errors
from threadrunner.api.errors import InvalidParams
from threadrunner.api.generation import Embedded, EmbedParams, InfillParams, RerankParams, TokenizeParams
from threadrunner.backends.base import Failed, ModelSpec, Progress
from threadrunner.backends.llama import LlamaBackend
from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.errors import LoadError


def embed(model: Loaded, *texts: str) -> list[list[float]]:
    result = model.ask(EmbedParams(input=list(texts)))
    assert not isinstance(result, Failed), result
    for vector in result.embeddings:
        assert math.isclose(sum(x * x for x in vector), 1.0, rel_tol=1e-5)
    return [*result.embeddings]


def rows(model: Loaded, tokens: list[int]) -> list[list[float]]:
    """The vectors of all tokens, asked of llama.cpp past the embedder."""
    context = Context(
        model.backend.loaded.model,
        n_cells=512,
        n_seq=1,
        n_batch=512,
        n_ubatch=512,
        threads=1,
        embeddings=True,
        pooling=tiny.NOT_POOLED,
    )
    context.add_all_outputs(0, 0, tokens)
    assert context.encode() == 0
    found = [list(map(float, row)) for row in context.embeddings()]
    context.close()
    return found


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


POOLED = {
    tiny.MEAN: lambda rows: [sum(column) for column in zip(*rows, strict=True)],
    tiny.FIRST: lambda rows: rows[0],
    tiny.LAST: lambda rows: rows[-1],
}


@pytest.mark.parametrize("pooling", [tiny.MEAN, tiny.FIRST, tiny.LAST])
@pytest.mark.parametrize("causal", [True, False])
def test_a_generating_models_pooling(tmp_path: Path, pooling: int, causal: bool) -> None:
    """Also the second time: the first embed of a last-pooling model once left a half-made context for it."""
    words = {**tiny.bytes_vocabulary(), "tokenizer.ggml.add_eos_token": True}
    path = tiny.llama(tmp_path / "m.gguf", words, **{"pooling_type": pooling, "attention.causal": causal})
    with Loaded(path) as model:
        tokens = [*model.vocab.tokenize("the house"), model.vocab.eos]
        for _ in range(2):
            (vector,) = embed(model, "the house")
            assert cosine(vector, POOLED[pooling](rows(model, tokens))) > 0.9999
        assert model.ask(EmbedParams(input="the house")).usage.prompt_tokens == len(tokens)


def test_a_long_text_is_pooled_as_if_it_were_evaluated_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadrunner.engine.embedder._CHUNK", 16)
    for pooling in POOLED:
        with Loaded(tiny.llama(tmp_path / "m.gguf", pooling_type=pooling)) as model:
            (vector,) = embed(model, "the house on the hill, by the river" * 2)
            want = rows(model, model.vocab.tokenize("the house on the hill, by the river" * 2))
            assert cosine(vector, POOLED[pooling](want)) > 0.9999


def test_a_cancelled_text_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadrunner.engine.embedder._CHUNK", 16)
    with Loaded(tiny.llama(tmp_path / "m.gguf")) as model:
        want = embed(model, "another text")
        id = model.submit(EmbedParams(input="a text of more than one chunk, half of it evaluated"))
        model.backend.step()
        model.backend.cancel(id)
        assert embed(model, "another text") == want


def test_what_fails_is_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Loaded(tiny.llama(tmp_path / "m.gguf")) as model:
        want = embed(model, "a text")
        ids = [model.submit(EmbedParams(input="a text")) for _ in range(2)]
        with monkeypatch.context() as broken:
            broken.setattr(Context, "encode", lambda self: -3)
            ends, _ = model.finish(ids[0])
        assert isinstance(ends[ids[0]], Failed)
        ends, _ = model.finish(ids[1])
        assert ends[ids[1]].embeddings == want  # type: ignore[union-attr]


def test_a_context_that_cannot_be_made_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*args: object, **kwargs: object) -> None:
        raise LoadError("no room")

    with Loaded(tiny.llama(tmp_path / "m.gguf")) as model:
        with monkeypatch.context() as broken:
            broken.setattr("threadrunner.engine.embedder.Context", no_room)
            failed = model.ask(EmbedParams(input="a text"))
        assert isinstance(failed, Failed)
        assert "no room" in failed.message
        assert embed(model, "a text")


@pytest.mark.parametrize("pooling", [tiny.NOT_POOLED, tiny.MEAN, tiny.FIRST])
def test_bert_sees_its_frame(tmp_path: Path, pooling: int) -> None:
    with Loaded(tiny.bert(tmp_path / "m.gguf", pooling)) as model:
        tokens = [2, *model.vocab.tokenize("a house"), 3]
        assert model.ask(EmbedParams(input="a house")).usage.prompt_tokens == len(tokens)
        first, second = embed(model, "a house", "a house")
        assert first == second
        assert cosine(first, POOLED[pooling or tiny.MEAN](rows(model, tokens))) > 0.9999


def test_bert_without_its_tokens_is_no_crash(tmp_path: Path) -> None:
    """Their ids have defaults (101 and 102) that this vocabulary does not have."""
    missing = {f"tokenizer.ggml.{name}_token_id": 9999 for name in ("bos", "seperator")}
    with Loaded(tiny.bert(tmp_path / "m.gguf", tiny.MEAN, **missing)) as model:
        assert embed(model, "a house")


def refusal(model: Loaded, params: Any) -> str:
    with pytest.raises(errors.NotSupported) as refused:
        model.submit(params)
    return refused.value.message


def test_a_reranker_says_what_it_is(tmp_path: Path) -> None:
    """Its output has one float where a vector was read."""
    with Loaded(tiny.bert(tmp_path / "m.gguf", tiny.RANK)) as model:
        assert "reranker" in refusal(model, EmbedParams(input="a house"))
        assert "embed" in refusal(model, greedy("a house"))
        assert model.ask(TokenizeParams(text="a")).tokens


def scoring_bert(path: Path) -> Path:
    return tiny.bert(path, tiny.RANK)


@pytest.mark.parametrize("write", [scoring_bert, tiny.decoding_reranker])
def test_a_reranker_scores_each_pair_by_itself(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    texts = ["a house on the hill", "a mouse", "the the the", "rivers and houses", "z"]
    with Loaded(write(tmp_path / "m.gguf")) as model:
        together = model.ask(RerankParams(query="the house", documents=texts))
        assert [result.score for result in together.results] == sorted(
            (result.score for result in together.results), reverse=True
        )
        assert sorted(result.index for result in together.results) == [0, 1, 2, 3, 4]
        for result in together.results:
            (alone,) = model.ask(RerankParams(query="the house", documents=[texts[result.index]])).results
            assert alone.score == pytest.approx(result.score, abs=1e-3)
        best = model.ask(RerankParams(query="the house", documents=texts, top_n=2)).results
        assert [result.index for result in best] == [result.index for result in together.results[:2]]
        assert "embedding" in refusal(model, EmbedParams(input="a house"))


def test_what_is_no_reranker_says_so(tmp_path: Path) -> None:
    with Loaded(tiny.bert(tmp_path / "m.gguf", tiny.MEAN)) as model:
        assert "no reranker" in refusal(model, RerankParams(query="a", documents=["b"]))


def test_texts_that_share_a_step_have_the_vectors_they_have_alone(tmp_path: Path) -> None:
    texts = ["a house", "the house on the hill, by the river", "", "z" * 100, "a mouse"]
    for path in (tiny.bert(tmp_path / "bert.gguf", tiny.MEAN), tiny.llama(tmp_path / "llama.gguf")):
        with Loaded(path) as model:
            together = model.ask(EmbedParams(input=texts)).embeddings
            for text, vector in zip(texts, together, strict=True):
                (alone,) = model.ask(EmbedParams(input=text)).embeddings
                assert alone == pytest.approx(vector, abs=2e-3), text


@pytest.mark.parametrize("kind", tiny.STATES)
def test_one_text_after_another_whatever_the_state_is(tmp_path: Path, kind: str) -> None:
    """llama.cpp refuses to empty all sequences at once of a recurrent state: its second text was an error for good."""
    with Loaded(tiny.STATES[kind](tmp_path / "m.gguf")) as model:
        alone = [embed(model, text)[0] for text in ("a house", "the river " * 60, "a house")]
        assert alone[2] == pytest.approx(alone[0], abs=2e-3)
        for vector, other in zip(alone, embed(model, "a house", "the river " * 60, "a house"), strict=True):
            assert other == pytest.approx(vector, abs=2e-3)


def test_an_encoder_embeds_and_does_not_generate(tmp_path: Path) -> None:
    with Loaded(tiny.t5(tmp_path / "m.gguf")) as model:
        first, second, other = embed(model, "a house", "a house", "a mouse")
        assert first == second != other
        tokens = [*model.vocab.tokenize("a house"), model.vocab.eos]
        assert cosine(first, POOLED[tiny.MEAN](rows(model, tokens))) > 0.9999
        assert "encoder" in refusal(model, greedy("a house"))
        assert refusal(model, InfillParams(prefix="a"))


def test_a_model_that_only_sees_whole_texts_does_not_generate(tmp_path: Path) -> None:
    with Loaded(tiny.bert(tmp_path / "m.gguf", tiny.MEAN)) as model:
        assert "only embed" in refusal(model, greedy("a house"))


def test_a_model_without_a_vocabulary_is_refused_at_load(tmp_path: Path) -> None:
    path = tiny.llama(tmp_path / "m.gguf", tiny.NO_VOCABULARY)
    with pytest.raises(errors.ModelLoadFailed, match="no vocabulary"):
        LlamaBackend().load(ModelSpec(name="m", path=str(path)), lambda done, total: None)


def test_an_embedding_that_is_no_number_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = tiny.values
    monkeypatch.setattr(
        tiny, "values", lambda name, shape, salt: values(name, shape, salt) * (math.nan if "norm" in name else 1)
    )
    with Loaded(tiny.llama(tmp_path / "m.gguf")) as model:
        failed = model.ask(EmbedParams(input="a house"))
        assert isinstance(failed, Failed)
        assert "not a number" in failed.message
        assert failed.code == errors.ModelLoadFailed.code


def test_fewer_dimensions_and_many_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Loaded(tiny.llama(tmp_path / "tiny.gguf")) as model:
        texts = [f"text {i}" for i in range(300)]
        id = model.submit(EmbedParams(input=texts, dimensions=8))
        ends, events = model.finish(id)
        short = ends[id]
        assert isinstance(short, Embedded)
        assert [len(vector) for vector in short.embeddings] == [8] * 300
        done = [(event.done, event.total) for event in events if isinstance(event, Progress)]
        assert len(done) > 10
        assert done == sorted(done)
        assert {total for _, total in done} == {short.usage.prompt_tokens}
        (whole,) = embed(model, texts[7])
        length = math.hypot(*whole[:8])
        assert [x / length for x in whole[:8]] == pytest.approx(short.embeddings[7], abs=1e-3)
        with pytest.raises(InvalidParams, match="vectors have 32 numbers"):
            model.submit(EmbedParams(input="a", dimensions=33))
        monkeypatch.setattr("threadrunner.backends.llama.MAX_NUMBERS", 320)
        with pytest.raises(InvalidParams, match="at most 10 at a time"):
            model.submit(EmbedParams(input=texts))
