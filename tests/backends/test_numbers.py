"""Numbers at the ends of their ranges, and numbers that are none: clamped or refused, never wrapped, never a crash."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded, greedy
from threadrunner.api import errors
from threadrunner.api.generation import DetokenizeParams, InfillParams
from threadrunner.backends.base import Failed, ModelSpec
from threadrunner.backends.llama import LlamaBackend


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    fim = {"<|fim_prefix|>": tiny.CONTROL, "<|fim_suffix|>": tiny.CONTROL, "<|fim_middle|>": tiny.CONTROL}
    path = tiny.llama(tmp_path_factory.mktemp("tiny") / "m.gguf", tiny.bytes_vocabulary(fim))
    with Loaded(path) as loaded:
        yield loaded


def said(model: Loaded, **params: Any) -> tuple[str, list[float]]:
    model.forget()  # so that the prompt is evaluated in the same way each time
    result = model.ask(greedy("abc", logprobs=2, **params))
    assert not isinstance(result, Failed), result
    assert "null" not in msgspec.json.encode(result.logprobs).decode()
    return result.text, [entry.logprob for entry in result.logprobs]


@pytest.mark.parametrize("temperature", [9e-6, 1e-10, 1e-20, 1e-38, 1e-40, 5e-324])
def test_a_temperature_near_0_is_greedy(model: Loaded, temperature: float) -> None:
    for more in ({}, {"top_k": 0, "top_p": 1.0, "min_p": 0.0}, {"grammar": "root ::= [^a]*"}):
        assert said(model, temperature=temperature, seed=1, **more) == said(model, temperature=0, **more)


@pytest.mark.parametrize("penalty", [1e-40, 1e-38, 1e-20])
def test_a_penalty_near_0_gives_numbers(model: Loaded, penalty: float) -> None:
    assert all(math.isfinite(p) for p in said(model, repeat_penalty=penalty, temperature=0.5, seed=1)[1])


@pytest.mark.parametrize("k", [2**31, 2**32, 2**32 + 1, 10**30])
def test_a_large_top_k_is_all_tokens(model: Loaded, k: int) -> None:
    """2**32 + 1 was 1, and so the answer the greedy one."""
    everything = {"temperature": 50.0, "seed": 1, "top_p": 1.0, "min_p": 0.0}
    assert said(model, top_k=k, **everything) == said(model, top_k=10**6, **everything)
    assert said(model, top_k=k, **everything) != said(model, top_k=1, **everything)


@pytest.mark.parametrize("seed", [2**32 - 1, 2**32, 2**64, -1])
def test_any_seed_is_a_seed(model: Loaded, seed: int) -> None:
    assert said(model, temperature=5.0, seed=seed) == said(model, temperature=5.0, seed=seed)


def test_large_counts(model: Loaded) -> None:
    assert model.ask(greedy("a", max_tokens=10**30, stop=["b"], logprobs=10**6, grammar='root ::= "ab"')).text == "a"
    assert model.ask(InfillParams(prefix="a", max_tokens=10**30, max_time_ms=10**400, stop=["a"])).text is not None
    for wrong in ({"n": 0}, {"n": 10**9}, {"max_tokens": -1}, {"logprobs": -1}):
        with pytest.raises(errors.InvalidParams, match=f"`{next(iter(wrong))}`"):
            model.submit(greedy("a", **wrong))


@pytest.mark.parametrize("token", [-1, -(2**31), 2**31, 2**32, 2**64])
def test_a_token_that_is_none(model: Loaded, token: int) -> None:
    with pytest.raises(errors.InvalidParams, match=f"no token {token}"):
        model.submit(DetokenizeParams(tokens=[3, token]))


@pytest.mark.parametrize("context", [-1, 2**31, 2**32, 2**32 + 256, 2**64])
def test_a_context_that_would_wrap_is_refused(tmp_path: Path, context: int) -> None:
    spec = ModelSpec(name="m", path=str(tiny.llama(tmp_path / "m.gguf")), context=context)
    with pytest.raises(errors.ModelLoadFailed, match=f"context of {context}"):
        LlamaBackend().load(spec, lambda done, total: None)


@pytest.mark.parametrize("threads", [-1, 10**6])
def test_any_number_of_threads(tmp_path: Path, threads: int) -> None:
    with Loaded(tiny.llama(tmp_path / "m.gguf"), threads=threads) as model:
        assert 1 <= model.facts.facts["threads"] <= 512


@pytest.mark.parametrize("more", [{}, {"temperature": 1.0}, {"n": 3, "temperature": 1.0}, {"grammar": 'root ::= "a"'}])
def test_scores_that_are_no_numbers_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    values = tiny.values
    monkeypatch.setattr(
        tiny, "values", lambda name, shape, salt: values(name, shape, salt) * (math.nan if "norm" in name else 1)
    )
    with Loaded(tiny.llama(tmp_path / "m.gguf")) as broken:
        failed = broken.ask(greedy("abc", **more))
        assert isinstance(failed, Failed)
        assert "NaN" in failed.message
        assert not broken.engine.busy
        json.dumps(failed.data)


def test_a_request_of_several_answers_ends_once(model: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of three candidates fails, while the first's prompt is just evaluated."""
    from threadrunner.engine.llama import sampler

    taken = []
    sample = sampler.Sampler.sample

    def fails_first(self: sampler.Sampler, *args: Any) -> Any:
        taken.append(self)
        if len(taken) == 1:
            raise sampler.DamagedModel("no")
        return sample(self, *args)

    monkeypatch.setattr(sampler.Sampler, "sample", fails_first)
    assert isinstance(model.ask(greedy("never heard before", n=3)), Failed)
    assert len(taken) == 1
    assert not model.engine.busy
