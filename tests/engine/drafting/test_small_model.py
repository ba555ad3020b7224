"""When a small model is asked: what it costs and how often it is right decide, and being wrong costs little."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from threadrunner.engine.drafting.drafter import MODEL, Draft, Drafter
from threadrunner.engine.drafting.payoff import StepCosts
from threadrunner.engine.drafting.small_model import AT_ONCE, RETRY_SHARE, Costs, SmallModel

FLAT = (10.0, 10.2, 10.5, 11.0, 12.0)
"""Seconds of the large model's batches of 1, 2, 4, 8, 16 tokens where a longer batch costs little, as on a GPU."""
STEEP = (10.0, 16.5, 25.0, 43.0, 75.0)


class Answer:
    def __init__(self, tokens: int) -> None:
        self.tokens = [0] * tokens


class Script:
    """A small model that says 1 where the large one does, except every `wrong`-th time; it counts what it costs."""

    def __init__(self, step: float, wrong: int = 0) -> None:
        self.costs = Costs(step / 10)
        self.spent = 0.0
        self.asked = 0
        self._step = step
        self._wrong = wrong
        self._known: dict[Answer, int] = {}

    def lacks(self, answer: Answer) -> int | None:
        return len(answer.tokens) - min(self._known.get(answer, 0), len(answer.tokens) - 1)

    def evaluate(self, answer: Answer, count: int) -> bool:
        self._pay(count, count * self._step / 10)
        self._known[answer] = len(answer.tokens) - (self.lacks(answer) or 0) + count
        return True

    def propose(self, lengths: Mapping[Answer, int]) -> dict[Answer, list[int]]:
        said = {}
        for answer, length in lengths.items():
            self._pay(self.lacks(answer) or 1, self._step)
            for _ in range(length - 1):
                self._pay(1, self._step)
            self._known[answer] = len(answer.tokens)
            said[answer] = [self._token() for _ in range(length)]
        return said

    def forget(self, answer: Answer) -> None:
        self._known.pop(answer, None)

    def _token(self) -> int:
        self.asked += 1
        return 2 if self._wrong and self.asked % self._wrong == 0 else 1

    def _pay(self, tokens: int, seconds: float) -> None:
        self.spent += seconds
        self.costs.learn(tokens, seconds)


def run(script: Script, batches: tuple[float, ...], tokens: int, prompt: int = 8) -> float:
    """How much faster an answer of so many tokens was than without."""
    small: SmallModel[Answer] = SmallModel(script, script.costs)
    drafter: Drafter[Answer] = Drafter(small)
    for count, seconds in zip((1, 2, 4, 8, 16), batches, strict=True):
        for _ in range(60):
            drafter.costs.learn(count, seconds)
    drafter._repeated = lambda answer, limit, beside: (None, 1.0)  # type: ignore[method-assign]
    answer, took, said = Answer(prompt), 0.0, 0
    while said < tokens:
        draft = drafter.plan([answer], lambda _, left=tokens - said: left, lambda _: True, lambda _: []).get(answer)
        proposed = draft.tokens if draft else []
        came_true = next((at for at, token in enumerate(proposed) if token != 1), len(proposed))
        took += drafter.costs.of(1 + len(proposed))
        answer.tokens += [1] * (came_true + 1)
        said += came_true + 1
        if draft:
            drafter.settled(answer, draft, came_true)
        drafter.said(answer)
    drafter.ended(answer, prompt)
    return said * batches[0] / (took + script.spent)


@pytest.mark.parametrize(
    ("step", "wrong", "batches", "at_least"),
    [
        (0.5, 0, FLAT, 4.0),
        (0.5, 4, FLAT, 1.8),
        (0.5, 2, FLAT, 1.2),
        (0.5, 0, STEEP, 1.25),  # always right, on a CPU
        (0.5, 2, STEEP, 0.97),
        (0.5, 1, FLAT, 0.97),  # never right
        (0.5, 1, STEEP, 0.97),
        (10.0, 0, STEEP, 0.97),  # as large as the large one
        (10.0, 1, FLAT, 0.95),
    ],
)
def test_it_gains_where_it_can_and_costs_little_where_not(
    step: float, wrong: int, batches: tuple[float, ...], at_least: float
) -> None:
    assert run(Script(step, wrong), batches, 1000) >= at_least


def test_one_that_never_pays_is_not_even_tried() -> None:
    script = Script(10.0)
    run(script, STEEP, 1000)
    assert script.asked == 0


def test_what_batches_cost_is_found_out_while_little_is_risked() -> None:
    """A GPU, on which nothing but single tokens was evaluated yet: until then it is taken for a CPU."""
    script = Script(1.5)
    drafter: Drafter[Answer] = Drafter(SmallModel(script, script.costs))
    drafter._repeated = lambda answer, limit, beside: (None, 1.0)  # type: ignore[method-assign]
    drafter.costs.learn(1, 10.0)
    script.costs.learn(1, 1.5)
    script.costs.learn(32, 32 * 0.15)
    answer, took, lost = Answer(8), 0.0, 0.0
    while len(answer.tokens) < 2000:
        draft = drafter.plan([answer], lambda _: 500, lambda _: True, lambda _: []).get(answer)
        size = 1 + len(draft.tokens if draft else [])
        seconds = 10.0 + 0.1 * size
        drafter.costs.learn(size, seconds)
        took += seconds
        answer.tokens += [1] * size
        if draft:
            drafter.settled(answer, draft, size - 1)
        lost = max(lost, took + script.spent - 10.1 * (len(answer.tokens) - 8))
    assert lost < 10.1 * 5
    assert (took + script.spent) * 1.5 < 10.1 * 2000


def test_a_long_prompt_is_worth_its_evaluation_for_a_long_answer_only() -> None:
    short, long = Script(2.0), Script(2.0)
    for script in (short, long):
        script.costs.learn(1, 2.0)
        script.costs.learn(64, 12.8)
    run(short, FLAT, 20, prompt=8000)
    assert short.spent == 0
    run(long, FLAT, 2000, prompt=8000)
    assert long.asked > 500


def test_it_is_tried_again_now_and_then_for_a_bounded_share_of_the_time() -> None:
    script = Script(0.01, wrong=1)
    assert run(script, FLAT, 5000) > 1 - 2 * RETRY_SHARE
    assert script.asked > 30, "the next text may be one that it knows"


def test_what_it_lacks_is_evaluated_in_pieces_before_it_is_asked() -> None:
    script = Script(0.1)
    small: SmallModel[Answer] = SmallModel(script, script.costs)
    batch = StepCosts()
    batch.learn(1, 10.0)
    answer = Answer(1000)
    wishes = [small.wish(answer, 500, 1, batch, 8) for _ in range(40)]
    first = next(at for at, (length, _) in enumerate(wishes) if length)
    assert all(length == 0 for length, _ in wishes[:first])
    assert first >= 3
    assert (script.lacks(answer) or 0) <= AT_ONCE


def test_nothing_is_asked_before_the_large_models_costs_are_known() -> None:
    script = Script(0.1)
    small: SmallModel[Answer] = SmallModel(script, script.costs)
    assert small.wish(Answer(4), 100, 1, StepCosts(), 8) == (0, 1.0)


def test_its_record_is_kept_by_the_drafter() -> None:
    script = Script(0.5, 3)
    drafter: Drafter[Answer] = Drafter(SmallModel(script, script.costs))
    answer = Answer(4)
    drafter.settled(answer, Draft(MODEL, [1, 1, 2]), 2)
    assert (drafter.records[MODEL].drafted, drafter.records[MODEL].accepted) == (3, 2)
