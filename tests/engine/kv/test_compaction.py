"""Sequences that move down, on cells that have numbers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from tests.engine.kv.memory import FakeMemory
from tests.engine.kv.test_cells import cells_on, evaluate, evaluated, tidy
from threadrunner.engine.kv import compaction as compaction_module
from threadrunner.engine.kv import heights, leaving
from threadrunner.engine.kv.buffers import PAGE
from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.kv.compaction import Compaction
from threadrunner.engine.pictures import Picture, Span
from threadrunner.engine.sequence import Sequence

BLOCK = 8


@pytest.fixture(autouse=True)
def _small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heights, "MIN_GAP", 8)
    monkeypatch.setattr(heights, "WORTH_A_MOVE", 2)
    monkeypatch.setattr(leaving, "WORTH_A_RETURN", 2)
    monkeypatch.setattr(leaving, "WORTH_A_SAVE", 4)


@dataclass
class Run:
    """Sequences that say a token each step."""

    memory: FakeMemory
    cells: Cells
    allowed: bool = True
    moves: int = 0
    """Of sequences."""
    sent_back: list[Sequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.compaction = Compaction(self.cells, self.sent_back.append, allowed=self.allowed)

    def decoding(self, *sizes: int) -> list[Sequence]:
        """No two have a token in common, so that none shares cells."""
        sequences = [evaluated(self.memory, self.cells, [first] * size) for first, size in enumerate(sizes)]
        for sequence in sequences:
            self._say(sequence)
        return sequences

    def _say(self, sequence: Sequence) -> None:
        sequence.tokens.append(sequence.tokens[0] + 100)
        sequence.generated += 1

    def steps(self, count: int) -> None:
        for _ in range(count):
            for sequence in self.cells.running:
                evaluate(self.memory, sequence, len(sequence.tokens))
                self._say(sequence)
            came = self.cells.came
            if self.cells.after_batch():
                self.compaction.turn()
            self.moves += self.cells.came - came
            assert self.cells.used() == self.memory.used
            for sequence in self.cells.running:
                assert sequence.decoding
                assert self.memory.tokens(sequence.seq) == sequence.tokens[:-1]


def left_alone(run: Run, *sizes: int) -> Sequence:
    """The last of so many that began together; the others have ended, and not left yet."""
    *others, last = run.decoding(*sizes)
    run.steps(3)
    for other in others:
        run.cells.finish(other)
    return last


def run_on(n_cells: int = 400, ram: int = 1 << 20, **kind: int) -> Run:
    memory = FakeMemory(n_cells, 8, **kind)  # type: ignore[arg-type]
    return Run(memory, cells_on(memory, ram=ram, block=BLOCK, **kind))  # type: ignore[arg-type]


def test_the_last_of_several_moves_to_the_lowest_cells_once_and_goes_on() -> None:
    run = run_on()
    last = left_alone(run, 40, 40, 20)
    assert run.memory.height > 100
    run.steps(40)
    assert run.moves == len(run.cells.running)
    run.steps(40)
    assert run.moves == len(run.cells.running)
    assert run.memory.used == len(last.tokens) - 1 == run.memory.height
    run.steps(100)
    assert run.moves == 1
    assert not run.sent_back


def test_several_move_together_and_share_what_they_shared() -> None:
    run = run_on()
    first, other, gone = run.decoding(60, 30, 250)
    sibling = Sequence(first.request, 1, None, None, 1, first.tokens[:-1])  # type: ignore[arg-type]
    assert run.cells.fork(first, sibling)
    sibling.tokens.append(555)
    sibling.generated += 1
    run.steps(3)
    run.cells.finish(gone)
    tidy(run.cells)
    run.steps(40)
    assert run.moves == 3, "each has got its cells once more"
    assert [*run.cells.running] == [first, other, sibling]
    assert run.memory.height == run.memory.used == sum(len(s.tokens) - 1 for s in run.cells.running) - 60


def test_no_step_saves_more_than_a_block_before_the_move() -> None:
    run = run_on()
    left_alone(run, 200, 60)
    while run.cells.cache.idle():
        run.steps(1)
    tier = run.cells.parking.tier
    saved = [tier.tokens]
    while not run.moves:
        run.steps(1)
        saved.append(tier.tokens)
    more = [b - a for a, b in itertools.pairwise(saved)]
    assert max(more) == BLOCK
    assert sum(more) == len(run.cells.running[0].tokens) - 1, "and all of it is saved"


def test_a_cancel_while_it_is_saved_loses_nothing() -> None:
    run = run_on()
    last = left_alone(run, 60, 60)
    while not run.compaction._saved:
        run.steps(1)
    tokens = last.tokens[:-1]
    run.cells.finish(last)
    run.steps(1)
    assert run.cells.used() == run.memory.used
    again = evaluated(run.memory, run.cells, [*tokens, 3], size=0)
    assert again.cached == len(tokens)
    assert run.moves == 0


def test_where_memory_cannot_hold_all_of_it_it_stays_and_is_not_tried_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = run_on(ram=7 * PAGE)
    calls = 0
    turn = run.compaction.turn

    def counted() -> None:
        nonlocal calls
        calls += 1
        turn()

    monkeypatch.setattr(run.compaction, "turn", counted)
    _, _, *others = run.decoding(30, 30, 40, 40, 40, 40, 40, 40)
    for other in others:
        run.cells.finish(other)
    tries = 0
    for _ in range(100):
        run.steps(1)
        tries = max(tries, run.compaction._saved)
    assert not run.cells.cache.idle()
    assert run.moves == 0
    assert tries > 5
    assert calls < 40
    assert run.cells.heights.wait < 0


def test_a_saved_state_that_is_refused_is_evaluated_again() -> None:
    run = run_on()
    last = left_alone(run, 60, 60)
    while run.cells.cache.idle():
        run.steps(1)
    run.memory.refuses = True
    came = run.cells.came
    while run.cells.came == came:
        evaluate(run.memory, last, len(last.tokens))
        run._say(last)
        if run.cells.after_batch():
            run.compaction.turn()
    assert run.cells.running == [last]
    assert last.evaluated == 0 == run.memory.used == run.cells.used()
    run.memory.refuses = False
    evaluate(run.memory, last, len(last.tokens))
    run._say(last)
    run.steps(20)


@pytest.mark.parametrize("kind", [{"ram": 0}, {"recurrent": True}, {"window": 4}])
def test_what_could_lose_something_stays(kind: dict[str, int]) -> None:
    run = run_on(**kind)
    left_alone(run, 60, 60)
    run.steps(100)
    assert run.moves == 0


def test_on_a_gpu_it_stays() -> None:
    run = run_on()
    run.compaction = Compaction(run.cells, run.sent_back.append, allowed=False)
    left_alone(run, 60, 60)
    run.steps(100)
    assert run.moves == 0


def test_with_a_picture_it_stays() -> None:
    run = run_on()
    last = left_alone(run, 60, 60)
    last.request.spans = (Span(Picture(b"", b""), 0, 2, 3),)
    run.steps(100)
    assert run.moves == 0


def test_more_than_readers_would_wait_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction_module, "MAX_TOKENS", 50)
    run = run_on()
    left_alone(run, 60, 60)
    run.steps(100)
    assert run.moves == 0


@pytest.mark.parametrize("what", ["draft", "prompt"])
def test_it_waits_for_the_end_of_a_draft_and_of_a_prompt(what: str) -> None:
    run = run_on()
    last = left_alone(run, 250, 60)
    while run.cells.cache.idle():
        run.steps(1)
    prompt = None
    if what == "draft":
        last.drafted = 1
    else:
        prompt = evaluated(run.memory, run.cells, [9] * 30, size=10)
    for _ in range(60):
        evaluate(run.memory, last, len(last.tokens))
        run._say(last)
        if run.cells.after_batch():
            run.compaction.turn()
    assert run.cells.came == 2 + (prompt is not None)
    last.drafted = 0
    if prompt is not None:
        evaluate(run.memory, prompt, 30)
        run.cells.publish(prompt)
        run._say(prompt)
    run.steps(40)
    assert run.moves == len(run.cells.running)
    run.steps(40)
    assert run.moves == len(run.cells.running)


def test_one_that_finds_no_place_waits_with_all_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_on()
    last = left_alone(run, 250, 60)
    with monkeypatch.context() as patch:
        patch.setattr(run.cells, "place", lambda _: False)
        while not run.sent_back:
            run.steps(1)
    assert run.sent_back == [last]
    assert last.seq < 0
    assert run.cells.used() == run.memory.used == 0
    assert run.cells.place(last)
    run.steps(1)
    assert run.memory.used == len(last.tokens) - 1
