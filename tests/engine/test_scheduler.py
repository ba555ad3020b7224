from __future__ import annotations

from dataclasses import dataclass

import pytest

from threadrunner.engine.scheduler import Chunk, Pace, Scheduler, batch_of
from threadrunner.engine.sequence import Priority


@dataclass
class Seq:
    remaining: int
    decoding: bool = False
    priority: Priority = Priority.NORMAL
    arrival: int = 0
    uncached: int = -1

    def __post_init__(self) -> None:
        self.uncached = self.remaining if self.uncached < 0 else self.uncached


def scheduler() -> Scheduler:
    return Scheduler(pace=Pace(400.0))


def sizes(chunks: list[Chunk[Seq]]) -> list[tuple[Seq, int]]:
    return [(chunk.sequence, chunk.size) for chunk in chunks]


def test_a_prefill_alone_gets_a_full_batch() -> None:
    long = Seq(5000)
    assert scheduler().schedule([long]) == [Chunk(long, 512, None)]


def test_a_slow_machine_takes_smaller_steps() -> None:
    slow = Scheduler(pace=Pace(100.0))
    (chunk,) = slow.schedule([Seq(5000)])
    assert chunk.size == 150


def test_what_cannot_be_stopped_goes_in_short_pieces_however_slow() -> None:
    """A GPU looks at no flag: a message waits for the end of the batch."""
    assert Scheduler(pace=Pace(1000.0), abortable=False).schedule([Seq(5000)])[0].size == 200
    assert Scheduler(pace=Pace(1.0), abortable=False).schedule([Seq(5000)])[0].size == Scheduler().min_chunk
    assert Scheduler(pace=Pace(1e5), abortable=False).schedule([Seq(5000)])[0].size == Scheduler().max_batch


def test_every_decoding_sequence_gets_its_token_and_prefill_a_little() -> None:
    a, b, long = Seq(1, decoding=True), Seq(1, decoding=True), Seq(5000)
    assert scheduler().schedule([a, long, b]) == [Chunk(a, 1, 0), Chunk(b, 1, 1), Chunk(long, 400 * 0.08 - 2, None)]


def test_a_short_prompt_goes_before_a_long_one_of_its_priority_and_alone() -> None:
    long, short = Seq(5000, arrival=0), Seq(20, arrival=1)
    assert sizes(scheduler().schedule([long, short])) == [(short, 20)]


def test_several_short_ones_share_a_batch() -> None:
    a, b = Seq(20, arrival=0), Seq(30, arrival=1)
    assert scheduler().schedule([b, a]) == [Chunk(a, 20, 19), Chunk(b, 30, 49)]


def test_a_higher_priority_goes_first_however_long() -> None:
    background, interactive = Seq(5, priority=Priority.BACKGROUND), Seq(3000, priority=Priority.INTERACTIVE, arrival=9)
    assert sizes(scheduler().schedule([background, interactive])) == [(interactive, 512)]


def test_the_oldest_of_long_ones_keeps_a_share() -> None:
    old, new = Seq(6000, arrival=0), Seq(3000, arrival=1)
    assert sizes(scheduler().schedule([old, new])) == [(old, 128), (new, 384)]


def test_caution_before_an_arrival() -> None:
    long = Seq(5000)
    assert sizes(scheduler().schedule([long], cautious=True)) == [(long, 32)]


def test_nothing_to_do() -> None:
    assert scheduler().schedule([]) == []


@pytest.mark.parametrize("decoding", [0, 1, 3])
def test_logits_are_where_a_sequence_has_nothing_left_to_evaluate(decoding: int) -> None:
    running = [Seq(1, decoding=True) for _ in range(decoding)] + [Seq(7), Seq(9)]
    place = -1
    for sequence, size, logits_at, _ in scheduler().schedule(running):
        place += size
        assert logits_at == (place if size == sequence.remaining else None)


def test_a_batch_without_one_of_its_sequences_has_its_logits_elsewhere() -> None:
    a, b, c = Seq(3), Seq(4), Seq(5)
    assert batch_of([(a, 3), (b, 2), (c, 5)]) == [Chunk(a, 3, 2), Chunk(b, 2, None), Chunk(c, 5, 9)]
    assert batch_of([(a, 3), (c, 5)]) == [Chunk(a, 3, 2), Chunk(c, 5, 7)]


def test_pace_ignores_tiny_batches() -> None:
    pace = Pace(400.0)
    pace.learn(1, 1.0)
    assert pace.tokens_per_second == 400.0
    pace.learn(100, 1.0)
    assert 100 < pace.tokens_per_second < 400
