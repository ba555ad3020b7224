"""Drafts from what was said before: found where the answer repeats it, tried only where that pays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from threadrunner.engine.drafting.drafter import FIRST_DRAFT, FORCED, OWN, RECENT, Draft, Drafter
from threadrunner.engine.drafting.ngrams import GRAM, MAX_AGREED, Follower, Passages
from threadrunner.engine.drafting.payoff import MAX_DRAFT, MIN_GAIN, Reliability, StepCosts, best_length


class Answer:
    """A sequence as the drafter sees it."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.prompt = len(tokens)


def yes(_: Answer) -> bool:
    return True


def measured(costs: StepCosts, *seconds: float) -> None:
    """Batches of 1, 2, 4, 8, 16 tokens."""
    for tokens, took in zip((1, 2, 4, 8, 16), seconds, strict=False):
        for _ in range(50):
            costs.learn(tokens, took)


def run(drafter: Drafter[Answer], answer: Answer, said: list[int], forced: list[int] | None = None) -> Iterator[Draft]:
    """The answer says these tokens, those of a draft that come true at once; the drafts that were tried."""
    at = 0
    while at < len(said):
        draft = drafter.plan([answer], lambda _: 100, yes, lambda _: forced or []).get(answer)
        new = said[at : at + 1]
        if draft is not None:
            came_true = 0
            while came_true < len(draft.tokens) and said[at + came_true : at + came_true + 1] == [
                draft.tokens[came_true]
            ]:
                came_true += 1
            new = said[at : at + came_true + 1]
            drafter.settled(answer, draft, came_true)
            yield draft
        answer.tokens += new
        at += len(new)
        drafter.said(answer)


@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_a_follower_agrees_with_its_passage_where_it_says_so(prompt: list[int], said: list[int]) -> None:
    passages = Passages(prompt)
    follower = Follower(passages)
    tokens = [*prompt]
    for token in said:
        tokens.append(token)
        follower.follow(tokens, len(tokens))
        passages.extend([token])
        if not follower.agreed:
            assert follower.next(4) == []
            continue
        assert GRAM <= follower.agreed <= MAX_AGREED
        place = len(passages.tokens) - len(follower.next(10**6))
        assert passages.tokens[place - follower.agreed : place] == tokens[-follower.agreed :]
        assert place < len(passages.tokens) or follower.next(1) == []


def test_the_last_place_is_followed_for_as_long_as_it_agrees() -> None:
    passages = Passages([1, 2, 3, 4, 5, 9, 1, 2, 3, 6, 7, 8])
    follower = Follower(passages)
    follower.follow([0, 1, 2, 3], 4)
    assert (follower.agreed, follower.next(2)) == (3, [6, 7])
    follower.follow([0, 1, 2, 3, 6], 5)
    assert (follower.agreed, follower.next(5)) == (4, [7, 8])
    follower.follow([0, 1, 2, 3, 6, 5], 6)
    assert follower.agreed == 0


def test_costs_are_scaled_from_what_was_measured() -> None:
    costs = StepCosts()
    assert costs.of(4) == 0.0
    costs.learn(1, 0.01)
    assert costs.of(2) == 0.01 * 1.65
    assert costs.of(4) < costs.of(5) < costs.of(8) < costs.of(16) < costs.of(20)
    costs.learn(8, 0.02)
    assert costs.of(8) == 0.02
    assert costs.of(6) < costs.of(8)


@given(st.floats(0, 1), st.integers(1, 8), st.integers(0, 20))
def test_a_draft_is_never_tried_against_the_odds(chance: float, beside: int, count: int) -> None:
    costs = StepCosts()
    costs.learn(beside, 1.0)
    chances = [chance ** (i + 1) for i in range(count)]
    length, gain = best_length(chances, costs, beside)
    assert 0 <= length <= min(count, MAX_DRAFT)
    if length:
        assert gain >= MIN_GAIN
        assert (beside + sum(chances[:length])) / costs.of(beside + length) > beside / costs.of(beside)


def test_what_pays_depends_on_the_machine() -> None:
    cpu, gpu = StepCosts(), StepCosts()
    measured(cpu, 10, 16.5, 25, 43, 75)
    measured(gpu, 10, 10.1, 10.3, 10.8, 12)
    often = [0.5, 0.25, 0.12, 0.06, 0.03]
    assert best_length(often, cpu, 1)[0] == 0
    assert best_length(often, gpu, 1)[0] >= 3
    assert best_length([1.0] * 30, cpu, 1)[1] > 2
    assert best_length([], cpu, 1) == (0, 1.0)
    assert best_length([1.0] * 30, StepCosts(), 1)[0] == 0, "nothing was measured yet"


def test_reliability_is_counted_by_the_length_of_the_agreement_and_old_counts_fade() -> None:
    record = Reliability()
    for _ in range(300):
        record.observe(3, False)
        record.observe(40, True)
    assert record.of(3) < 0.05 < 0.95 < record.of(40)
    for _ in range(600):
        record.observe(40, False)
    assert record.of(40) < 0.1
    assert record.chances(3, 3) == sorted(record.chances(3, 3), reverse=True)


def test_copying_is_drafted_once_it_was_seen_to_go_on() -> None:
    drafter: Drafter[Answer] = Drafter()
    measured(drafter.costs, 10, 16.5, 25, 43, 75)
    text = list(range(100, 400))
    answer = Answer([*text, 1, 2, 3])
    drafts = list(run(drafter, answer, text))
    assert answer.tokens[-300:] == text
    own = drafter.records[OWN]
    assert own.drafted and own.accepted / own.drafted > 0.95
    assert len(drafts) < 100, "most tokens came in drafts"


def test_text_that_repeats_nothing_is_never_drafted() -> None:
    drafter: Drafter[Answer] = Drafter()
    measured(drafter.costs, 10, 16.5, 25, 43, 75)
    # runs of three come again, and each time something else follows
    said = [token for i in range(300) for token in (1, 2, 3, 1000 + i)]
    drafts = list(run(drafter, Answer([7, 8, 9]), said))
    assert sum(len(d.tokens) for d in drafts) == 0


def test_what_was_said_to_others_is_followed_too() -> None:
    drafter: Drafter[Answer] = Drafter()
    measured(drafter.costs, 10, 16.5, 25, 43, 75)
    text = list(range(100, 250))
    for start in (5, 6, 7):
        answer = Answer([start])
        drafts = list(run(drafter, answer, text))
        drafter.ended(answer, answer.prompt)
    assert {d.source for d in drafts} == {RECENT}
    assert drafter.records[RECENT].accepted > 100


def test_drafts_begin_short_and_grow_with_what_came_true() -> None:
    drafter: Drafter[Answer] = Drafter()
    measured(drafter.costs, 10, 10.1, 10.2, 10.4, 10.8)
    passage = list(range(100, 260))
    answer = Answer([*passage, 1])
    lengths = [len(draft.tokens) for draft in run(drafter, answer, [*passage[:120], 7, 7, 7, *passage[:12]])]
    assert lengths[0] <= FIRST_DRAFT
    assert max(lengths) > FIRST_DRAFT
    broken_off = next(i for i, (a, b) in enumerate(itertools.pairwise(lengths)) if b < a)
    assert all(b <= 2 * a for a, b in itertools.pairwise(lengths[: broken_off + 1]))


def test_forced_tokens_need_no_experience() -> None:
    drafter: Drafter[Answer] = Drafter()
    measured(drafter.costs, 10, 16.5, 25, 43, 75)
    answer = Answer([1, 2])
    draft = drafter.plan([answer], lambda _: 100, yes, lambda _: [5, 6, 7, 8])[answer]
    assert draft == Draft(FORCED, [5, 6, 7, 8])
    assert drafter.plan([answer], lambda _: 2, yes, lambda _: [5, 6, 7, 8])[answer].tokens == [5, 6]
    assert drafter.plan([answer], lambda _: 0, yes, lambda _: [5, 6, 7, 8]) == {}


def test_a_batch_stays_bounded_beside_many() -> None:
    drafter: Drafter[Answer] = Drafter()
    measured(drafter.costs, 10, 10, 10, 10, 10)
    answers = [Answer([1, 2]) for _ in range(6)]
    drafts = drafter.plan(answers, lambda _: 100, yes, lambda _: list(range(40)))
    assert sum(len(d.tokens) for d in drafts.values()) + len(answers) <= MAX_DRAFT + 1
