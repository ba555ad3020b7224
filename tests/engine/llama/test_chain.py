"""Each sampler of the chain against its definition, on scores made by hand."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.backends import tiny
from threadrunner.engine.llama import chain
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.sampling import Sampling

OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
SCORES = [4.0, 3.5, 3.0, 2.0, 1.0, 0.5, -1.0, -3.0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    made = Model(str(tiny.llama(tmp_path_factory.mktemp("tiny") / "m.gguf")))
    yield made
    made.close()


class Chain:
    """A chain without the sampler that chooses, which would say nothing of the others; with `whole` all of it."""

    def __init__(self, model: Model, said: list[int], whole: bool, **sampling: Any) -> None:
        made = chain.samplers(Sampling(**{**OFF, **sampling}), 7, model)
        self.names = [llama_cpp.llama_sampler_name(one).decode() for one in made]
        self.handle = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for one in made if whole else made[:-1]:
            llama_cpp.llama_sampler_chain_add(self.handle, one)
        for token in said:
            llama_cpp.llama_sampler_accept(self.handle, token)

    def apply(self, scores: list[float]) -> tuple[dict[int, float], int]:
        """What is left, by token, and the one that was selected."""
        data = (llama_cpp.llama_token_data * len(scores))(*((i, score, 0.0) for i, score in enumerate(scores)))
        array = llama_cpp.llama_token_data_array(data, len(scores), -1, False)
        llama_cpp.llama_sampler_apply(self.handle, ctypes.byref(array))
        left = {array.data[i].id: array.data[i].logit for i in range(array.size)}
        return left, array.data[array.selected].id if array.selected >= 0 else -1


def left(
    model: Model, scores: list[float] = SCORES, said: list[int] | None = None, **sampling: Any
) -> dict[int, float]:
    return Chain(model, said or [], False, **sampling).apply(scores)[0]


def softmax(scores: list[float]) -> np.ndarray[Any, Any]:
    powers = np.exp(np.array(scores) - max(scores))
    return powers / powers.sum()


def close(found: dict[int, float], expected: dict[int, float]) -> bool:
    return found.keys() == expected.keys() and all(math.isclose(found[i], expected[i], abs_tol=1e-4) for i in found)


def test_nothing_asked_changes_nothing(model: Model) -> None:
    assert close(left(model), dict(enumerate(SCORES)))


def test_penalties_count_what_was_said(model: Model) -> None:
    found = left(model, said=[0, 0, 7, 2], repeat_penalty=2.0, presence_penalty=0.5, frequency_penalty=0.25)
    expected = dict(enumerate(SCORES))
    expected |= {0: 4.0 / 2 - 0.5 - 2 * 0.25, 2: 3.0 / 2 - 0.5 - 0.25, 7: -3.0 * 2 - 0.5 - 0.25}
    assert close(found, expected)
    raised = left(model, said=[3], presence_penalty=-1.0)
    assert close(raised, {**dict(enumerate(SCORES)), 3: 3.0})


@pytest.mark.parametrize(
    ("window", "counted"), [(0, set()), (1, {2}), (2, {1, 2}), (-1, {0, 1, 2}), (10**12, {0, 1, 2})]
)
def test_penalties_look_back_as_far_as_their_window(model: Model, window: int, counted: set[int]) -> None:
    found = left(model, said=[0, 1, 2], presence_penalty=1.0, penalty_window=window)
    assert {i for i, score in found.items() if score < SCORES[i]} == counted


def test_a_bias_is_added_and_one_forbids(model: Model) -> None:
    found = left(model, logit_bias={0: -math.inf, 3: 5.0, 6: 1e300})
    assert found[0] == -math.inf
    assert close({3: found[3], 6: found[6]}, {3: 7.0, 6: -1.0 + chain.MAX_BIAS})


def test_top_n_sigma_keeps_what_is_near_the_best(model: Model) -> None:
    edge = max(SCORES) - 0.5 * float(np.std(SCORES))
    found = {i for i, score in left(model, top_n_sigma=0.5).items() if score > -math.inf}
    assert found == {i for i, score in enumerate(SCORES) if score >= edge}
    assert 1 < len(found) < len(SCORES)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_typical_keeps_what_surprises_as_expected(model: Model, p: float) -> None:
    shares = softmax(SCORES)
    surprise = -np.log(shares)
    order = np.argsort(np.abs(surprise - (shares * surprise).sum()), kind="stable")
    count = int(np.searchsorted(np.cumsum(shares[order]), p, side="right")) + 1
    assert set(left(model, typical_p=p)) == {*order[:count].tolist()}


def test_typical_is_not_spoiled_by_what_is_impossible(model: Model) -> None:
    """A probability of zero in 32 bits made the entropy, and so every distance from it, NaN."""
    far = [*SCORES, -1000.0]
    assert left(model, far, typical_p=0.5).keys() == left(model, typical_p=0.5).keys()
    assert 8 not in left(model, far, typical_p=0.5, logit_bias={8: -math.inf})


@pytest.mark.parametrize("threshold", [0.05, 0.15, 0.3, 0.45, 0.6])
def test_xtc_excludes_all_top_choices_but_the_least(model: Model, threshold: float) -> None:
    above = [i for i, share in enumerate(softmax(SCORES)) if share >= threshold]
    gone = above[:-1] if threshold <= 0.5 else []
    assert left(model, xtc_probability=1.0, xtc_threshold=threshold).keys() == {*range(8)} - {*gone}
    assert left(model, xtc_probability=0.0, xtc_threshold=threshold).keys() == {*range(8)}


def test_dry_penalizes_what_would_go_on_with_a_repetition(model: Model) -> None:
    a, b, c, d = (ord(letter) + 2 for letter in "abcd")  # bytes are behind two control tokens
    scores = [1.0] * model.n_vocab
    said = [a, b, c, d, a, b, c]
    dry = {"dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": 2}
    found = left(model, scores, said, **dry)
    assert {i for i, score in found.items() if score < 1.0} == {d}
    assert math.isclose(found[d], 1.0 - 0.8 * 1.75 ** (3 - 2), rel_tol=1e-5)
    assert left(model, scores, said, **dry, dry_window=4)[d] == 1.0
    assert left(model, scores, said, **dry, dry_breakers=("c",))[d] == 1.0
    assert left(model, scores, said, **{**dry, "dry_allowed_length": 4})[d] == 1.0
    assert left(model, scores, said, **{**dry, "dry_allowed_length": 10**12})[d] == 1.0


@pytest.mark.parametrize(("reach", "exponent"), [(0.3, 1.0), (0.7, 2.0), (50.0, 1.0)])
def test_dynamic_temperature_follows_the_entropy(model: Model, reach: float, exponent: float) -> None:
    shares = softmax(SCORES)
    entropy = -(shares * np.log(shares)).sum() / math.log(len(SCORES))
    low, high = 0.8 - min(reach, 0.8), 0.8 + min(reach, 0.8)
    temperature = low + (high - low) * entropy**exponent
    found = left(model, temperature=0.8, dynatemp_range=reach, dynatemp_exponent=exponent)
    assert close(found, {i: score / temperature for i, score in enumerate(SCORES)})


def test_mirostat_2_holds_the_surprise(model: Model) -> None:
    shares = softmax(SCORES)
    bits = -np.log2(shares)
    tau, eta = 1.0, 0.9
    whole = Chain(model, [], True, mirostat=2, mirostat_tau=tau, mirostat_eta=eta)
    mu = 2 * tau
    for _ in range(20):
        found, chosen = whole.apply(SCORES)
        kept = [i for i in range(8) if bits[i] <= mu] or [0]
        assert [*found] == kept
        mu -= eta * (-math.log2(shares[chosen] / shares[kept].sum()) - tau)


def test_mirostat_1_keeps_as_many_as_its_formula_says(model: Model) -> None:
    whole = Chain(model, [], True, mirostat=1, mirostat_tau=1.2)
    shares = softmax(SCORES)
    steps = range(len(SCORES) - 1)
    t = np.array([math.log((i + 2) / (i + 1)) for i in steps])
    b = np.array([math.log(shares[i] / shares[i + 1]) for i in steps])
    s = float((t * b).sum() / (t * t).sum())
    epsilon = s - 1
    k = ((epsilon * 2 ** (2 * 1.2)) / (1 - model.n_vocab**-epsilon)) ** (1 / s)
    assert len(whole.apply(SCORES)[0]) == max(1, int(k))
    assert 1 < int(k) < len(SCORES)


def test_the_order_is_llama_cpps_own(model: Model) -> None:
    everything: dict[str, Any] = {
        "temperature": 0.8,
        "logit_bias": {0: 1.0},
        "repeat_penalty": 1.1,
        "dry_multiplier": 1.0,
        "top_n_sigma": 2.0,
        "top_k": 5,
        "typical_p": 0.9,
        "top_p": 0.9,
        "min_p": 0.1,
        "xtc_probability": 0.5,
    }
    biased = ["logit-bias", "penalties", "dry"]
    cuts = ["top-n-sigma", "top-k", "min-p", "typical", "top-p", "min-p", "xtc"]
    assert Chain(model, [], True, **everything).names == [*biased, *cuts, "temp", "dist"]
    assert Chain(model, [], True, **everything, mirostat=2).names == [*biased, "temp", "mirostat-v2"]
    assert Chain(model, [], True, **everything, mirostat=1).names == [*biased, "temp", "mirostat"]
    assert Chain(model, [], True, **{**everything, "temperature": 0.0}).names == [*biased, "greedy"]


def test_a_breaker_list_is_worked_through_once(model: Model) -> None:
    chain._dry.cache_clear()
    for _ in range(3):
        left(model, dry_multiplier=0.5, dry_breakers=("x", "y"))
    assert (chain._dry.cache_info().misses, chain._dry.cache_info().hits) == (1, 2)
