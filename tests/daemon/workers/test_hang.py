"""A worker that hangs is ended, and no sooner: the decision, without a clock."""

from __future__ import annotations

import pytest

from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.workers.hang import GRACE, LOOK_EVERY, MAX_GRACE, NUDGE_AFTER, STOP_WITHIN, HangWatch, Verdict
from threadrunner.daemon.workers.quarantine import Quarantine, identity
from threadrunner.worker.vitals import Doing, Vitals

STUCK = Vitals(7, Doing.STEP, 0, 0.0)


class Clock:
    """Looks again and again, until there is another verdict than to wait."""

    def __init__(self, watch: HangWatch) -> None:
        self.now = 1000.0
        self.watch = watch
        watch.begin(self.now)

    def until(self, *verdicts: Verdict, vitals: Vitals = STUCK, size: int = 0, pause: float = LOOK_EVERY) -> float:
        """Seconds until one of these; 1e9 if it does not come."""
        began = self.now
        for _ in range(1000):
            self.now += pause
            if self.watch.look(self.now, vitals, size) in verdicts:
                return self.now - began
        return 1e9


@pytest.fixture
def watch() -> HangWatch:
    return HangWatch()


def test_nothing_is_demanded_of_a_worker_whose_clients_wait(watch: HangWatch) -> None:
    assert not watch.demands(busy=True)
    watch.owed.add(3)
    assert watch.demands(busy=False)
    watch.owed.clear()
    watch.pressed = True
    assert watch.demands(busy=True)
    assert not watch.demands(busy=False), "idle, it will be told to stop"


def test_it_is_interrupted_first_and_then_ended(watch: HangWatch) -> None:
    clock = Clock(watch)
    nudged = clock.until(Verdict.NUDGE, Verdict.END)
    assert NUDGE_AFTER <= nudged <= NUDGE_AFTER + 2 * LOOK_EVERY
    ended = clock.until(Verdict.NUDGE, Verdict.END)
    assert GRACE <= nudged + ended <= GRACE + 2 * LOOK_EVERY


def test_a_sign_of_life_in_each_grace_is_enough(watch: HangWatch) -> None:
    clock = Clock(watch)
    for beats in range(100):
        for _ in range(int((GRACE - 1) / LOOK_EVERY)):
            clock.now += LOOK_EVERY
            assert watch.look(clock.now, STUCK._replace(beats=beats)) is not Verdict.END
    assert clock.now > 900


def test_each_silence_is_interrupted_once(watch: HangWatch) -> None:
    clock = Clock(watch)
    for beats in range(3):
        assert clock.until(Verdict.NUDGE, vitals=STUCK._replace(beats=beats)) < GRACE


@pytest.mark.parametrize(
    ("vitals", "load_seconds", "size", "at_least"),
    [
        (STUCK, 0.3, 0, GRACE),
        (STUCK._replace(slowest=8.0), 0.3, 0, 32),  # it has had steps of 8 s
        (STUCK, 25.0, 0, 50),  # its weights come from a slow disk
        (STUCK._replace(doing=Doing.SUBMIT, request=2), 0.3, 4_000_000, 30),  # much text to tokenize
        (STUCK, 0.3, 4_000_000, GRACE),
        (STUCK._replace(slowest=4000.0), 0.3, 0, MAX_GRACE),
        (STUCK._replace(doing=Doing.SUBMIT), 9000.0, 1 << 40, MAX_GRACE),
    ],
)
def test_a_slow_machine_is_given_longer(
    watch: HangWatch, vitals: Vitals, load_seconds: float, size: int, at_least: float
) -> None:
    watch.load_seconds = load_seconds
    took = Clock(watch).until(Verdict.END, vitals=vitals, size=size)
    assert at_least <= took <= at_least + 2 * LOOK_EVERY


def test_time_in_which_we_did_not_run_does_not_count(watch: HangWatch) -> None:
    """A suspended machine, or a stopped daemon: its worker did not run either."""
    clock = Clock(watch)
    assert watch.look(clock.now + 3600, STUCK) is Verdict.WAIT
    clock.now += 3600
    assert clock.until(Verdict.END, pause=60.0) >= 60 * GRACE / (2 * LOOK_EVERY)


def test_one_that_was_told_to_end_may_write_but_not_for_ever(watch: HangWatch) -> None:
    watch.stopping = True
    clock = Clock(watch)
    assert STOP_WITHIN <= clock.until(Verdict.END, Verdict.NUDGE) <= STOP_WITHIN + 2 * LOOK_EVERY


def test_patience_begins_with_the_demand(watch: HangWatch) -> None:
    clock = Clock(watch)
    clock.until(Verdict.NUDGE)
    watch.begin(clock.now)
    assert clock.until(Verdict.END) >= GRACE


class TestQuarantine:
    def test_the_first_time_may_be_chance(self) -> None:
        kept = Quarantine()
        assert not kept
        kept.hung(["a", "b"], 0)
        assert (kept.wait("a", 0), kept.times("a")) == (0, 1)
        kept.hung(["a"], 100)
        assert (kept.wait("a", 100), kept.wait("a", 130), kept.wait("a", 161)) == (60, 30, 0)
        assert kept.wait("b", 100) == 0
        assert kept.wait("never seen", 100) == 0

    def test_each_further_time_doubles_the_wait_up_to_an_hour(self) -> None:
        kept = Quarantine()
        waits = []
        for n in range(10):
            kept.hung(["a"], n * 1e4)
            waits.append(kept.wait("a", n * 1e4))
        assert waits == [0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]

    def test_one_that_was_answered_is_forgotten(self) -> None:
        kept = Quarantine()
        kept.hung(["a"], 0)
        kept.pardon("a")
        assert not kept
        kept.hung(["a"], 1)
        assert kept.wait("a", 1) == 0

    def test_it_remembers_the_newest(self) -> None:
        kept = Quarantine()
        for n in range(1000):
            kept.hung([n], 0)
        assert (kept.times(999), kept.times(0)) == (1, 0)

    def test_what_was_asked_is_not_kept(self) -> None:
        asked = GenerateParams(prompt="my pin is 4711 " * 1000)
        kept = identity("generate", asked)
        assert kept == identity("generate", GenerateParams(prompt=asked.prompt))
        assert kept not in (identity("generate", GenerateParams(prompt="my pin")), identity("embed", asked))
        assert "4711" not in repr(kept) and len(repr(kept)) < 1000
