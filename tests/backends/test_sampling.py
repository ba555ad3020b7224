"""Sampling params as a client gives them, on a tiny model: ends, candidates, the model's own values, errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded, greedy
from threadrunner.api import errors
from threadrunner.api.sampling import Dry, DynamicTemperature, Mirostat, Xtc
from threadrunner.api.votes import Vote
from threadrunner.backends.base import CandidateDone
from threadrunner.backends.sampling import sampling_of
from threadrunner.engine.llama.recommended import recommended
from threadrunner.engine.llama.sampling import Sampling

END = "1"
LIKES_TO_END = {END: 50.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    with Loaded(tiny.llama(tmp_path_factory.mktemp("tiny") / "m.gguf")) as loaded:
        yield loaded


def test_a_bias_decides(model: Loaded) -> None:
    x, y = (str(ord(letter) + 2) for letter in "xy")
    liked = model.ask(greedy("abc", logit_bias={x: 100.0, y: 90.0}, max_tokens=3, logprobs=2))
    assert liked.text == "xxx"
    forbidden = model.ask(greedy("abc", logit_bias={x: -100.0, y: 90.0}, max_tokens=3, logprobs=2))
    assert forbidden.text == "yyy"
    (text, score), (liked_text, liked_score) = forbidden.logprobs[0].top[0], liked.logprobs[0].top[0]
    assert (text, score) == (liked_text, pytest.approx(liked_score, abs=0.02))  # the model's own, no bias in them


@pytest.mark.parametrize("more", [{}, {"grammar": "root ::= [a-w]*"}, {"repeat_penalty": 1.3}, {"json_schema": True}])
def test_min_tokens_puts_the_end_off(model: Loaded, more: dict[str, Any]) -> None:
    ask = {"logit_bias": LIKES_TO_END, "max_tokens": 20, "temperature": 1.0, "seed": 3, **more}
    if "json_schema" not in more:
        assert model.ask(greedy("abc", **ask)).usage.completion_tokens == 1
    result = model.ask(greedy("abc", **ask, min_tokens=7))
    if "json_schema" not in more:
        assert result.usage.completion_tokens == 8
        assert result.finish_reason == "stop"
    endless = model.ask(greedy("abc", **ask, ignore_eos=True))
    if "json_schema" not in more:
        assert endless.finish_reason == "length"
        assert endless.usage.completion_tokens == 20


def test_where_a_grammar_is_fulfilled_min_tokens_cannot_ask_for_more(model: Loaded) -> None:
    for grammar in ('root ::= "ab"', 'root ::= "ab" | "abc"'):
        result = model.ask(greedy("x", grammar=grammar, min_tokens=10, max_tokens=20, ignore_eos=True))
        assert (result.text in ("ab", "abc"), result.finish_reason) == (True, "stop")
    assert model.ask(greedy("x", grammar='root ::= ""', min_tokens=10)).text == ""


def test_candidates_have_seeds_of_their_own(model: Loaded) -> None:
    ask: dict[str, Any] = {"temperature": 5.0, "top_k": 0, "min_p": 0.0, "max_tokens": 8}
    three = model.ask(greedy("abc", n=3, seed=11, **ask))
    alone = [model.ask(greedy("abc", seed=11 + i, **ask)).text for i in range(3)]
    assert [choice.text for choice in three.choices] == alone
    assert len(set(alone)) == 3


def test_under_a_vote_each_candidate_is_told_of_when_it_is_complete(model: Loaded) -> None:
    """Their lengths differ, as the end's bias lets it; what is counted grows from one to the next, up to the result."""
    ask: dict[str, Any] = {"temperature": 3.0, "top_k": 0, "min_p": 0.0, "max_tokens": 60, "logit_bias": {END: 3.0}}
    id = model.submit(greedy("abc", n=3, seed=2, vote=Vote(), **ask))
    ends, events = model.finish(id)
    told = [event for event in events if isinstance(event, CandidateDone)]
    result: Any = ends[id]
    assert sorted(one.index for one in told) == [0, 1, 2]
    assert [result.choices[one.index].text for one in told] == [one.result.text for one in told]
    tokens = [one.result.usage.completion_tokens for one in told]
    assert tokens == sorted(tokens)
    assert tokens[-1] == result.usage.completion_tokens

    id = model.submit(greedy("abc", n=3, seed=2, vote=Vote(), **ask))
    while not any(isinstance(event, CandidateDone) for event in model.backend.step()):
        pass
    model.backend.cancel(id)
    assert model.engine.active == 0


@pytest.mark.parametrize(
    "params",
    [
        {"mirostat": Mirostat(1)},
        {"mirostat": Mirostat(2, tau=2.0)},
        {"dynamic_temperature": DynamicTemperature(0.5)},
        {"xtc": Xtc(1.0, 0.05)},
        {"dry": Dry(window=20)},
        {"typical_p": 0.5},
        {"top_n_sigma": 1.0},
        {"presence_penalty": 1.0, "frequency_penalty": 0.5, "penalty_window": -1},
    ],
)
def test_each_one_changes_what_is_said_and_a_seed_repeats_it(model: Loaded, params: dict[str, Any]) -> None:
    ask: dict[str, Any] = {"temperature": 2.0, "seed": 5, "max_tokens": 40, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    assert model.ask(greedy("abcabc", **ask, **params)).text == model.ask(greedy("abcabc", **ask, **params)).text
    assert model.ask(greedy("abcabc", **ask, **params)).text != model.ask(greedy("abcabc", **ask)).text
    held = model.ask(greedy("abcabc", **ask, **params, grammar="root ::= [a-h]+"))
    assert set(held.text) <= set("abcdefgh")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"logit_bias": {"4294967296": 1.0}}, "`logit_bias` names the token 4294967296; this model's are 0 to 258"),
        ({"logit_bias": {"259": 1.0}}, "259; this model's are 0 to 258"),
        ({"dry": Dry(breakers=["x" * 41])}, "41 bytes; the maximum is 40"),
        ({"dry": Dry(breakers=["é" * 21])}, "42 bytes"),
        ({"dry": Dry(breakers=["a\0b"])}, "`dry.breakers`"),
        ({"prompt": None, "prompt_tokens": [5, 259]}, "`prompt_tokens` has 259"),
    ],
)
def test_what_cannot_be_is_said(model: Loaded, params: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InvalidParams, match=said):
        model.submit(greedy(**{"prompt": "x", **params}))


RECOMMENDS = {
    "general.sampling.temp": 0.25,
    "general.sampling.top_k": 7,
    "general.sampling.top_p": 0.5,
    "general.sampling.penalty_repeat": 1.5,
    "general.sampling.min_p": 3.0,
}


def test_the_models_own_values_hold_where_the_request_says_nothing(tmp_path: Path) -> None:
    with Loaded(tiny.llama(tmp_path / "m.gguf", {**tiny.bytes_vocabulary(), **RECOMMENDS})) as model:
        known = {"temperature": 0.25, "top_k": 7, "top_p": 0.5, "repeat_penalty": 1.5}  # 3.0 is no share
        assert model.facts.facts["sampling"] == pytest.approx(known)
        usual = model.backend.loaded.requests.usual
        silent = greedy("x", temperature=None)
        found = sampling_of(silent, usual, 259)
        assert (found.temperature, found.top_k, found.top_p, found.repeat_penalty) == pytest.approx((0.25, 7, 0.5, 1.5))
        assert found.min_p == Sampling().min_p
        asked = sampling_of(greedy("x", top_k=3), usual, 259)
        assert (asked.temperature, asked.top_k, asked.top_p) == pytest.approx((0, 3, 0.5))
        alike = {"temperature": 0.25, "top_k": 7, "top_p": 0.5, "repeat_penalty": 1.5}
        ask: dict[str, Any] = {"seed": 1, "max_tokens": 30}
        assert model.ask(greedy("abc", **ask, temperature=None)).text == model.ask(greedy("abc", **ask, **alike)).text


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "high", "", "1e400"])
def test_what_a_file_says_is_not_believed_beyond_its_range(text: str) -> None:
    found = recommended(lambda key: text if key == "general.sampling.temp" else None)
    assert found.said == {}
    assert found.sampling == Sampling()
