"""What is known of one person: it follows what happens, adds up, fades, and is read back as it was written."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from threadrunner.learning.habits import LANGUAGES, Habits
from threadrunner.learning.logistic import FARTHEST, Logistic, sigmoid
from threadrunner.learning.quiet import BINS, MEMORY, Ledger, explores, threshold

NAMES = ("always", "long", "sure")


def habits() -> Habits:
    return Habits.of(NAMES, {"sure": 1.0}, Ledger.empty())


def seen(model: Logistic, count: int, seed: int = 1) -> None:
    """Of what is sure 9 in 10 are taken, of all else 1 in 10; the second feature tells nothing."""
    chance = random.Random(seed)
    for _ in range(count):
        sure = chance.random() < 0.5
        model.learn([1.0, chance.random(), float(sure)], float(chance.random() < (0.9 if sure else 0.1)))


def test_a_model_follows_what_happens() -> None:
    model = Logistic([0.0, 0.0, 0.0])
    assert model.chance([1.0, 0.5, 1.0]) == 0.5
    seen(model, 400)
    assert model.chance([1.0, 0.5, 1.0]) > 0.75
    assert model.chance([1.0, 0.5, 0.0]) < 0.25


def test_habits_that_change_are_followed() -> None:
    model = Logistic([0.0])
    for happened in (1.0, 0.0):
        for _ in range(200):
            model.learn([1.0], happened)
        assert abs(model.chance([1.0]) - happened) < 0.25


@pytest.mark.parametrize("x", [-1e308, -1000.0, 0.0, 1000.0, 1e308])
def test_a_chance_is_one_whatever_the_sum(x: float) -> None:
    assert 0.0 <= sigmoid(x) <= 1.0


def test_no_weight_runs_away() -> None:
    model = Logistic([0.0])
    for _ in range(3000):
        model.learn([1e6], 1.0)
        model.learn([-1e6], 1.0)
    assert abs(model.weights[0]) <= FARTHEST


def test_nothing_is_held_back_where_nothing_is_known() -> None:
    assert threshold(Ledger.empty()) == 0.0


def ledger(right_low: int, right_high: int) -> Ledger:
    """100 unlikely ones and 100 likely ones, of 10 characters each; so many of them were right."""
    found = Ledger.empty()
    for chance, right in ((0.08, right_low), (0.72, right_high)):
        for n in range(100):
            found.add(chance, float(n < right), 10)
    return found


def test_the_threshold_moves_with_habits() -> None:
    hopeless, useful = threshold(ledger(1, 60)), threshold(ledger(20, 60))
    assert 0.1 <= hopeless <= 0.72  # what is unlikely brings this person nothing: all of it is held back
    assert useful < 0.08  # a quarter of what they save comes from there
    assert threshold(ledger(20, 60), spared=0.3) > 0.1


def test_of_those_held_back_some_are_shown() -> None:
    shown = sum(explores(f"{n * 2654435761 % 2**32:08x}") for n in range(5000))
    assert 100 < shown < 300


def test_what_two_editors_learn_adds_up() -> None:
    base = habits()
    one, other = base.copy(), base.copy()
    for who, language in ((one, "python"), (other, "python"), (other, "go")):
        who.count(language, "shown")
        who.model.learn([1.0, 0.2, 1.0], 1.0)
        who.ledger.add(0.3, 1.0, 12)
    both = base.plus(one.since(base)).plus(other.since(base))
    assert both.counts["python"]["shown"] == 2 and both.counts["go"]["shown"] == 1
    assert sum(both.ledger.right) == 3 and sum(both.ledger.characters) == 36
    assert both.model.weights[2] > max(one.model.weights[2], other.model.weights[2])
    assert base.counts == {} and sum(base.ledger.right) == 0  # copies are copies


def test_what_is_written_is_what_is_read() -> None:
    known = habits()
    seen(known.model, 50)
    known.count("python", "taken")
    known.ledger.add(0.4, 1.0, 7)
    back = habits().read(json.loads(json.dumps(known.told())))
    assert back.model.weights == pytest.approx(known.model.weights, abs=1e-4)
    assert (back.counts["python"]["taken"], back.ledger) == (1, known.ledger)


def test_weights_of_two_are_readable_however_far_they_go() -> None:
    far = habits()
    far.model.weights = [FARTHEST, -FARTHEST, FARTHEST]
    assert habits().read(far.plus(far).told()).model.weights == far.model.weights


def test_a_feature_that_the_file_lacks_is_as_shipped() -> None:
    told = habits().told()
    del told["weights"]["sure"], told["squares"]["sure"]
    told["weights"]["of_another_version"] = 3.0
    assert habits().read(told).model.weights == [0.0, 0.0, 1.0]


def test_old_habits_fade() -> None:
    known = habits()
    known.ledger.right[3] = MEMORY + 1
    assert known.told()["right"][3] == pytest.approx((MEMORY + 1) / 2, abs=0.01)


def test_names_of_languages_are_few_and_no_text() -> None:
    known = habits()
    known.count("my secret /path", "shown")
    for n in range(2 * LANGUAGES):
        known.count(f"language{n}", "shown")
    assert "my secret /path" not in known.counts
    assert len(known.counts) <= LANGUAGES + 1
    assert known.counts["other"]["shown"] > LANGUAGES


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"version": None},
        {"weights": {"sure": 1e9}},
        {"weights": {"sure": "much"}},
        {"weights": [1, 2]},
        {"squares": {"sure": -1}},
        {"right": [1.0]},
        {"wrong": [float("nan")] * BINS},
        {"characters": None},
        {"counts": {"python": 3}},
        {"counts": {"python": {"shown": float("inf")}}},
    ],
)
def test_a_file_that_is_not_ours_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        habits().read({**habits().told(), **change})


def test_how_often_this_person_takes_what_is_right() -> None:
    known = habits()
    assert known.takes == pytest.approx(0.8)
    for _ in range(90):
        known.count("go", "typed")
    assert known.takes < 0.1
