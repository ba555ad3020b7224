"""Conversations on the real model: the next turn evaluates only what is new, a full context loses whole turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Daemon, running

WORDS = "The quick brown fox jumps over the lazy dog near the river bank. "


@pytest.fixture(scope="module")
def real(smollm2: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=str(smollm2), THREADRUNNER_CONTEXT="512")


def test_the_next_turn_evaluates_only_what_is_new(real: Daemon) -> None:
    wire = real.wire()
    wire.call("generate", prompt=f"Remember this: {WORDS * 15}", session="long", max_tokens=8, temperature=0)
    second = wire.call("generate", prompt="Thanks.", session="long", max_tokens=8, temperature=0)["usage"]
    third = wire.call("generate", prompt="Good.", session="long", max_tokens=8, temperature=0)["usage"]
    assert second["prompt_tokens"] > 200
    for usage in (second, third):
        assert usage["prompt_tokens"] - usage["cached_tokens"] < 40


def test_a_full_context_loses_its_oldest_turns_and_nothing_leaves_the_file(real: Daemon) -> None:
    wire = real.wire()
    left = []
    for number in range(7):
        prompt = f"Number {number}. {WORDS * 6}"
        params = {"system": "You are brief."} if not number else {}
        result = wire.call("generate", prompt=prompt, session="full", max_tokens=8, temperature=0, **params)
        assert result["usage"]["prompt_tokens"] + result["usage"]["completion_tokens"] <= 512
        left.append(result.get("truncated_turns", 0))
    assert left[0] == 0
    assert left[-1] > 0
    assert len(set(left)) < 4  # the window moves far and seldom
    turns = wire.call("sessions.show", session="full")["turns"]
    assert len(turns) == 7
    assert [turn["in_window"] for turn in turns] == [number >= left[-1] for number in range(7)]


def test_one_prompt_that_is_too_long_is_an_error_with_both_counts(real: Daemon) -> None:
    error = real.wire().fail("generate", prompt=WORDS * 40, session="huge", max_tokens=8)
    assert error["data"]["kind"] == "ContextOverflow"
    assert error["data"]["prompt_tokens"] > error["data"]["limit"]
    result = real.wire().call("generate", prompt="Hi", session="huge", max_tokens=4)
    assert "truncated_turns" not in result  # a turn that failed is in nobody's way


def test_meaning_finds_a_note_in_other_words(real: Daemon) -> None:
    wire = real.wire()
    for text in ("The garage is painted red.", "Lunch is at noon.", "Minka sleeps a lot.", "Rent is due on Fridays."):
        wire.call("memory.add", text=text)
    result = wire.call("generate", prompt="What colour has the garage?", memory=True, max_tokens=4)
    assert result["sources"][0]["text"] == "The garage is painted red."
