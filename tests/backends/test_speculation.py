"""Answers with drafts are the answers without, token by token, on the cells of a real cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.backends import tiny
from tests.backends.harness import EXACT, Loaded, assert_same_or_close, greedy
from threadrunner.api.generation import Generated
from threadrunner.backends.base import Hardware
from threadrunner.engine.drafting.drafter import FORCED, OWN, RECENT, Drafter
from threadrunner.engine.scheduler import Chunk

PASSAGE = "the grey cat sat by the sea and looked at the ships until the night came. "
PROMPT = PASSAGE * 4


@pytest.fixture
def eager(exact: Loaded) -> Iterator[Loaded]:
    """A machine on which a batch costs what a token costs: drafts are tried whenever there is one."""
    drafter = exact.engine.speculation.drafter
    exact.engine.speculation.drafter = Drafter()
    costs = exact.engine.speculation.drafter.costs
    costs.learn = lambda tokens, seconds: None  # type: ignore[method-assign]
    costs.of = lambda tokens: 1.0  # type: ignore[method-assign]
    exact.engine.speculation.policy = "always"
    yield exact
    exact.engine.speculation.policy = "auto"
    exact.engine.speculation.drafter = drafter


def without(loaded: Loaded, **more: object) -> Generated:
    loaded.engine.speculation.policy = "off"
    answer = loaded.ask(greedy(PROMPT, max_tokens=40, logprobs=2, **more))
    loaded.engine.speculation.policy = "always"
    assert isinstance(answer, Generated)
    return answer


@pytest.mark.parametrize("more", [{}, {"temperature": 1.3, "seed": 7}, {"repeat_penalty": 1.2}, {"stop": ["night"]}])
def test_the_text_is_that_without_drafts(eager: Loaded, more: dict[str, object]) -> None:
    alone = without(eager, **more)
    eager.forget()
    answer = eager.ask(greedy(PROMPT, max_tokens=40, logprobs=2, **more))
    assert_same_or_close(alone, answer, EXACT)
    again = eager.ask(greedy(PROMPT, max_tokens=40, logprobs=2, **more))
    assert_same_or_close(alone, again, EXACT)
    assert again.usage.completion_tokens == alone.usage.completion_tokens


def test_drafts_were_tried_and_some_came_true(eager: Loaded) -> None:
    records = eager.engine.speculation.drafter.records
    before = {source: record.accepted for source, record in records.items()}
    for _ in range(3):
        eager.ask(greedy(PROMPT, max_tokens=60))
    assert records[OWN].accepted + records[RECENT].accepted > before[OWN] + before[RECENT]
    assert records[FORCED].drafted == 0


def test_every_cell_is_accounted_for(eager: Loaded) -> None:
    """A draft that did not come true gives its cells back: at each end, by the answer's own, a stop or a cancel."""
    eager.forget()
    ids = [
        eager.submit(greedy(PROMPT, max_tokens=30, n=2, temperature=1.0, seed=3)),
        eager.submit(greedy(PROMPT + "x", max_tokens=25, stop=["sea", "night"])),
        eager.submit(greedy(PROMPT + "y", max_tokens=200)),
    ]
    for step in range(400):
        eager.backend.step()
        assert eager.engine.cells.used() == eager.cells_in_llama(), step
        if step == 20:
            eager.backend.cancel(ids[2])
        if not eager.engine.busy:
            break
    assert not eager.engine.busy
    eager.forget()
    assert eager.cells_in_llama() == 0


@pytest.mark.parametrize(
    ("params", "guesses"),
    [
        ({"temperature": 0}, False),
        ({"temperature": 0.8, "seed": 1}, False),
        ({"temperature": 0.8, "logprobs": 0}, False),
        ({"temperature": 0.8}, True),
    ],
)
def test_who_asked_for_reproducible_text_gets_no_guesses(
    eager: Loaded, params: dict[str, object], guesses: bool
) -> None:
    speculation = eager.engine.speculation
    speculation.policy = "auto"
    for _ in range(3):
        eager.ask(greedy(PROMPT, max_tokens=60, **{"top_k": 1, **params}))
    assert (sum(record.drafted for record in speculation.drafter.records.values()) > 0) == guesses


@pytest.mark.parametrize("policy", ["auto", "off", "always"])
def test_the_option_reaches_the_engine(tmp_path: Path, policy: Literal["auto", "off", "always"]) -> None:
    with Loaded(tiny.llama(tmp_path / "m.gguf"), hardware=Hardware(drafts=policy)) as loaded:
        assert loaded.engine.speculation.policy == policy


def test_a_state_that_cannot_be_rolled_back_gets_no_drafts(tmp_path: Path) -> None:
    with Loaded(tiny.mamba(tmp_path / "m.gguf"), hardware=Hardware(drafts="always")) as loaded:
        assert loaded.engine.speculation.policy == "off"


@pytest.mark.parametrize(
    ("more", "never"),
    [
        ({}, True),
        ({"temperature": 1.0}, False),
        ({"temperature": 1.0, "seed": 3}, True),
        ({"grammar": "root ::= [a-z ]+"}, False),
    ],
)
def test_a_step_looks_for_drafts_only_where_there_can_be_some(
    exact: Loaded, more: dict[str, object], never: bool
) -> None:
    id = exact.submit(greedy(PROMPT, max_tokens=8, **more))
    while not exact.engine.cells.running or not exact.engine.cells.running[0].generated:
        exact.backend.step()
    (sequence,) = exact.engine.cells.running
    assert exact.engine.speculation.never([Chunk(sequence, 1, 0)]) is never
    exact.finish(id)
