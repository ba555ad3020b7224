"""LoRA adapters: what is said under them is what the merged weights say, and nothing of it is taken for another's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny, tiny_lora
from tests.backends.harness import EXACT, Loaded, assert_same_or_close, greedy
from threadrunner.api.errors import InvalidParams
from threadrunner.backends.base import AdapterSpec

PROMPT = "What the north wind said to the sun, and what it answered. " * 2
BLENDS: dict[str, dict[int, float]] = {"none": {}, "one": {1: 1.0}, "half": {1: 0.5}, "other": {2: 1.0}}
BLENDS |= {"both": {1: 0.5, 2: -0.75}}


def wanted(blend: dict[int, float]) -> dict[str, float]:
    return {f"salt{salt}": scale for salt, scale in blend.items()}


def ask(loaded: Loaded, prompt: str = PROMPT, **more: Any) -> Any:
    return loaded.ask(greedy(prompt, max_tokens=24, logprobs=2, **more))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def specs(folder: Path) -> list[AdapterSpec]:
    paths = {salt: tiny_lora.adapter(folder / f"salt{salt}.gguf", salt) for salt in (1, 2)}
    return [AdapterSpec(name=f"salt{s}", path=str(p), scale=0.0, fingerprint=str(s)) for s, p in paths.items()]


@pytest.fixture(scope="module")
def adapted(folder: Path, specs: list[AdapterSpec]) -> Iterator[Loaded]:
    with Loaded(tiny.untied(folder / "plain.gguf"), adapters=specs) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, Any]:
    """Of models whose weights have the adapters in them."""
    found = {}
    for name, blend in BLENDS.items():
        with Loaded(tiny_lora.merged(folder / f"{name}.gguf", blend)) as loaded:
            found[name] = ask(loaded)
    assert len({answer.text for answer in found.values()}) == len(BLENDS), "they must differ for this to show anything"
    return found


def test_each_request_gets_what_the_merged_weights_say(adapted: Loaded, answers: dict[str, Any]) -> None:
    """One after another with one prompt between them: the second has nothing of the first one's cells."""
    for _ in range(2):
        for name, blend in BLENDS.items():
            answer = ask(adapted, lora=wanted(blend))
            assert_same_or_close(answer, answers[name], EXACT)
    assert answer.usage.cached_tokens == answer.usage.prompt_tokens - 1, "and the second time all of its own"
    assert adapted.cells_in_llama() == adapted.engine.cells.used()


def test_at_the_same_time(adapted: Loaded, answers: dict[str, Any]) -> None:
    adapted.forget()
    ids = {}
    for name, blend in BLENDS.items():
        ids[adapted.submit(greedy(PROMPT, max_tokens=24, logprobs=2, lora=wanted(blend)))] = name
    ends, _ = adapted.finish(*ids)
    for id, name in ids.items():
        assert_same_or_close(ends[id], answers[name], EXACT)  # type: ignore[arg-type]


def test_candidates_fork_under_their_adapter(adapted: Loaded, answers: dict[str, Any]) -> None:
    adapted.forget()
    answer = adapted.ask(greedy(PROMPT, max_tokens=24, n=3, lora={"salt1": 1.0}))
    assert {choice.text for choice in answer.choices} == {answers["one"].text}


def test_parked_and_brought_back(folder: Path, specs: list[AdapterSpec], answers: dict[str, Any]) -> None:
    """From memory, and from disk by another process."""
    kept = {"cache_dir": str(folder / "kv"), "cache_bytes": 1 << 24}
    plain = folder / "plain.gguf"
    with Loaded(tiny.untied(plain), adapters=specs, **kept) as loaded:
        for name in ("none", "one"):
            ask(loaded, lora=wanted(BLENDS[name]))
        while loaded.engine.cells.tidy():
            pass
        while loaded.engine.cells.evict_one():
            pass
        for name in ("other", "one", "none"):
            answer = ask(loaded, lora=wanted(BLENDS[name]))
            assert bool(answer.usage.cached_tokens) == (name != "other")
            assert_same_or_close(answer, answers[name], EXACT)
        loaded.engine.cells.save()
    with Loaded(plain, adapters=specs, **kept) as loaded:
        for name in ("one", "half", "none"):
            answer = ask(loaded, lora=wanted(BLENDS[name]))
            assert (answer.usage.cached_tokens > 0) == (name != "half")
            assert_same_or_close(answer, answers[name], EXACT)


def test_what_is_usual_holds_where_a_request_says_nothing(
    folder: Path, specs: list[AdapterSpec], answers: dict[str, Any]
) -> None:
    usual = [AdapterSpec(name=s.name, path=s.path, scale=0.5 if s.name == "salt1" else 0.0) for s in specs]
    with Loaded(tiny.untied(folder / "plain.gguf"), adapters=usual) as loaded:
        assert loaded.facts.facts["adapters"] == {"salt1": 0.5, "salt2": 0.0}
        assert_same_or_close(ask(loaded), answers["half"], EXACT)
        assert_same_or_close(ask(loaded, lora={}), answers["none"], EXACT)


def test_a_context_that_grows_keeps_its_adapters(adapted: Loaded) -> None:
    """It is made anew, and knows of none then."""
    long = "and so it went on, one thing after another, " * 8
    adapted.forget()
    whole = ask(adapted, long, lora={"salt2": 1.0})
    adapted.forget()
    adapted.engine.context.resize(adapted.engine.context.n_cells)
    assert_same_or_close(ask(adapted, long, lora={"salt2": 1.0}), whole, EXACT)


def test_an_unknown_one_is_named(adapted: Loaded) -> None:
    with pytest.raises(InvalidParams, match="loaded with salt1, salt2"):
        ask(adapted, lora={"salt3": 1.0})
