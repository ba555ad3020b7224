"""When kept sequences leave the cells of those that run."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from threadrunner.engine.kv.leaving import WORTH_A_RETURN, WORTH_A_SAVE, Leaving


@dataclass
class Kept:
    """The prefix tree, and the memory beside it, of sequences with one block each."""

    sequences: list[int] = field(default_factory=list)
    saved: set[int] = field(default_factory=set)
    quick: set[int] = field(default_factory=set)
    fits: bool = True
    keeps: bool = True
    looks: int = 0

    def idle(self) -> list[int]:
        self.looks += 1
        return list(self.sequences)

    def tokens(self, seq: int) -> list[int]:
        return [seq]

    def is_saved(self, tokens: list[int]) -> bool:
        return tokens[0] in self.saved

    def is_quick(self, seq: int, tokens: list[int]) -> bool:
        return seq in self.quick

    def save_next(self, seq: int, tokens: list[int]) -> bool:
        if self.fits and seq not in self.saved:
            self.saved.add(seq)
            return True
        return False

    def prepare(self) -> bool:
        return False


class Life:
    def __init__(self) -> None:
        self.kept = Kept()
        self.leaving = Leaving(self.kept, self.kept, self.forget)  # type: ignore[arg-type]

    def forget(self, seq: int) -> None:
        self.kept.sequences.remove(seq)
        self.leaving.gone(seq)

    def ends(self, seq: int) -> None:
        self.kept.sequences.append(seq)
        self.leaving.ended(seq)

    def steps_until_gone(self, seq: int, most: int = 200) -> int:
        for step in range(1, most):
            self.leaving.after_batch()
            if seq not in self.kept.sequences:
                return step
        raise AssertionError(f"{seq} stays")


@pytest.fixture
def life() -> Life:
    return Life()


def test_what_is_saved_leaves_as_soon_as_it_has_cost_its_return(life: Life) -> None:
    life.kept.saved.add(1)
    life.ends(1)
    assert life.steps_until_gone(1) == WORTH_A_RETURN


def test_what_must_be_saved_first_waits_longer(life: Life) -> None:
    life.ends(1)
    assert life.steps_until_gone(1) == WORTH_A_SAVE + 1


def test_what_is_saved_in_no_time_does_not(life: Life) -> None:
    life.kept.quick.add(1)
    life.ends(1)
    assert life.steps_until_gone(1) == WORTH_A_RETURN + 1


def test_one_that_waits_for_its_save_keeps_no_other(life: Life) -> None:
    life.ends(1)
    life.kept.saved.add(2)
    life.ends(2)
    assert life.steps_until_gone(2) == WORTH_A_RETURN


def test_what_idle_time_has_saved_leaves_at_the_next_step(life: Life) -> None:
    life.ends(1)
    for _ in range(WORTH_A_RETURN + 2):
        life.leaving.after_batch()
    while life.leaving.in_idle_time():
        pass
    assert life.steps_until_gone(1) == 1


def test_what_does_not_fit_is_asked_again(life: Life) -> None:
    life.kept.fits = False
    life.ends(1)
    for _ in range(2 * WORTH_A_SAVE):
        life.leaving.after_batch()
    life.kept.fits = True
    assert life.steps_until_gone(1) <= WORTH_A_SAVE + 1


def test_a_step_looks_at_what_is_kept_only_when_something_is_due(life: Life) -> None:
    """It did at each, which took 80 us of a token: all of the tree comes from memory then."""
    life.ends(1)
    for _ in range(WORTH_A_SAVE - 1):
        life.leaving.after_batch()
    assert life.kept.looks == 2  # at the first step, and when it had cost its return
    life.steps_until_gone(1)
    before = life.kept.looks
    for _ in range(1000):
        life.leaving.after_batch()
    assert life.kept.looks <= before + 1


def test_without_a_place_for_it_nothing_is_looked_at(life: Life) -> None:
    life.kept.keeps = False
    life.ends(1)
    for _ in range(100):
        life.leaving.after_batch()
    assert life.kept.looks == 0
    assert life.kept.sequences == [1]
