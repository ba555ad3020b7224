from __future__ import annotations

from dataclasses import dataclass

from threadrunner.engine.scheduler import Pace, Scheduler


@dataclass
class Seq:
    remaining: int
    decoding: bool = False
    priority: int = 1
    arrival: int = 0
    uncached: int = -1

    def __post_init__(self) -> None:
        self.uncached = self.remaining if self.uncached < 0 else self.uncached


def scheduler() -> Scheduler:
    return Scheduler(pace=Pace(400.0))


def test_a_prefill_alone_gets_a_full_batch() -> None:
    long = Seq(5000)
    assert scheduler().plan([long]) == [(long, 512)]


def test_a_slow_machine_takes_smaller_steps() -> None:
    slow = Scheduler(pace=Pace(100.0))
    ((_, tokens),) = slow.plan([Seq(5000)])
    assert tokens == 150


def test_every_decoding_sequence_gets_its_token_and_prefill_a_little() -> None:
    a, b, long = Seq(1, decoding=True), Seq(1, decoding=True), Seq(5000)
    plan = scheduler().plan([a, long, b])
    assert plan[:2] == [(a, 1), (b, 1)]
    assert plan[2] == (long, 400 * 0.08 - 2)


def test_a_short_prompt_goes_before_a_long_one_of_its_priority_and_alone() -> None:
    long, short = Seq(5000, arrival=0), Seq(20, arrival=1)
    assert scheduler().plan([long, short]) == [(short, 20)]


def test_several_short_ones_share_a_batch() -> None:
    a, b = Seq(20, arrival=0), Seq(30, arrival=1)
    assert scheduler().plan([b, a]) == [(a, 20), (b, 30)]


def test_a_higher_priority_goes_first_however_long() -> None:
    background, interactive = Seq(5, priority=2), Seq(3000, priority=0, arrival=9)
    assert scheduler().plan([background, interactive]) == [(interactive, 512)]


def test_the_oldest_of_long_ones_keeps_a_share() -> None:
    old, new = Seq(6000, arrival=0), Seq(3000, arrival=1)
    assert scheduler().plan([old, new]) == [(old, 128), (new, 384)]


def test_caution_before_an_arrival() -> None:
    long = Seq(5000)
    assert scheduler().plan([long], cautious=True) == [(long, 32)]


def test_nothing_to_do() -> None:
    assert scheduler().plan([]) == []


def test_pace_ignores_tiny_batches() -> None:
    pace = Pace(400.0)
    pace.learn(1, 1.0)
    assert pace.tokens_per_second == 400.0
    pace.learn(100, 1.0)
    assert 100 < pace.tokens_per_second < 400
