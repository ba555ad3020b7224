"""The plan that stays the same from step to step, and what is new of it in the batch."""

from __future__ import annotations

from collections.abc import Sequence as Seq

from tests.engine.kv.memory import FakeMemory
from tests.engine.kv.test_cells import cells_on
from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.scheduler import Chunk, Scheduler, with_drafts
from threadrunner.engine.sequence import Request, Sequence
from threadrunner.engine.steady import BatchFiller, SteadyPlan


class Batch:
    """A context's batch, each token as (sequence id, position, token, whether it gives logits)."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, bool]] = []
        self.cleared = 0
        self.applied: list[tuple[tuple[int, float], ...]] = []

    def apply(self, adapters: Seq[tuple[int, float]]) -> None:
        self.applied.append(tuple(adapters))

    def clear_batch(self) -> None:
        self.rows.clear()
        self.cleared += 1

    def add(self, seq: int, position: int, tokens: Seq[int], output: bool) -> None:
        last = len(tokens) - 1
        self.rows += [(seq, position + i, token, output and i == last) for i, token in enumerate(tokens)]

    def add_all_outputs(self, seq: int, position: int, tokens: Seq[int]) -> None:
        self.rows += [(seq, position + i, token, True) for i, token in enumerate(tokens)]

    def replace(self, place: int, position: int, token: int) -> None:
        seq, _, _, output = self.rows[place]
        self.rows[place] = seq, position, token, output


def decoding(cells: Cells, *prompts: list[int]) -> list[Sequence]:
    """Sequences that run, and have said one token."""
    sequences = []
    for id, prompt in enumerate(prompts):
        sequence = Sequence(Request(id, prompt, None), 0, None, None, id, list(prompt))  # type: ignore[arg-type]
        assert cells.place(sequence)
        sequence.evaluated = len(prompt)
        said(sequence, 50 + id)
        sequences.append(sequence)
    return sequences


def said(sequence: Sequence, token: int) -> None:
    sequence.tokens.append(token)
    sequence.generated += 1


def planned(cells: Cells, plan: SteadyPlan) -> list[Chunk[Sequence]]:
    chunks = Scheduler().schedule(cells.running)
    plan.planned(chunks, plain=False)
    return chunks


def filler_on(batch: Batch) -> BatchFiller:
    return BatchFiller(batch)  # type: ignore[arg-type]


def test_the_same_sequences_make_the_same_plan_for_as_long_as_there_are_cells() -> None:
    cells = cells_on(FakeMemory(n_cells=12))
    decoding(cells, [1, 2], [3, 4])
    plan = SteadyPlan(cells)
    assert plan.next() is None
    before = cells.free()
    chunks = planned(cells, plan)
    steps = 1  # the one that was planned
    while plan.next() is chunks:
        steps += 1
    assert steps == before // 2


def test_who_comes_or_goes_makes_another_plan() -> None:
    cells = cells_on(FakeMemory(n_cells=100))
    first, second = decoding(cells, [1, 2], [3, 4])
    plan = SteadyPlan(cells)
    planned(cells, plan)
    cells.finish(second)
    assert plan.next() is None
    planned(cells, plan)
    assert plan.next() is not None
    decoding(cells, [5, 6])
    assert plan.next() is None
    planned(cells, plan)
    cells.finish(first)  # as many as before, but not the same
    decoding(cells, [7, 8])
    assert plan.next() is None


def test_a_plan_that_evaluates_more_than_a_token_of_each_is_no_plan_for_the_next_step() -> None:
    cells = cells_on(FakeMemory(n_cells=100))
    (sequence,) = decoding(cells, [1, 2])
    plan = SteadyPlan(cells)
    said(sequence, 9)  # two tokens are due
    planned(cells, plan)
    assert plan.next() is None


def test_a_plain_plan_is_plain_no_longer_than_it_is_a_plan() -> None:
    """Else the cells of another plan's drafts would not be given back."""
    cells = cells_on(FakeMemory(n_cells=100))
    first, _ = decoding(cells, [1, 2], [3, 4])
    plan = SteadyPlan(cells)
    plan.planned(Scheduler().schedule(cells.running), plain=True)
    assert plan.plain
    plan.planned(Scheduler().schedule([first]), plain=True)
    assert not plan.plain
    plan.planned(Scheduler().schedule(cells.running), plain=True)
    plan.forget()
    assert not plan.plain


def test_a_plan_that_leaves_one_out_is_no_plan_for_the_next_step() -> None:
    cells = cells_on(FakeMemory(n_cells=100))
    first, _ = decoding(cells, [1, 2], [3, 4])
    plan = SteadyPlan(cells)
    plan.planned(Scheduler().schedule([first]), plain=False)
    assert plan.next() is None


def test_of_a_batch_that_is_there_already_only_tokens_and_positions_are_written() -> None:
    cells = cells_on(FakeMemory(n_cells=100))
    sequences = decoding(cells, [1, 2], [3, 4, 5])
    batch = Batch()
    filler = filler_on(batch)
    chunks = Scheduler().schedule(cells.running)
    for step in range(3):
        filler.fill(chunks)
        again = Batch()
        filler_on(again).fill(Scheduler().schedule(cells.running))
        assert batch.rows == again.rows
        for sequence in sequences:
            sequence.evaluated += 1
            said(sequence, 60 + 2 * step + sequence.arrival)
    assert batch.cleared == 1


def test_a_batch_with_drafts_is_never_taken_for_the_one_before_it() -> None:
    cells = cells_on(FakeMemory(n_cells=100))
    (sequence,) = decoding(cells, [1, 2])
    batch = Batch()
    filler = filler_on(batch)
    chunks = Scheduler().schedule(cells.running)
    filler.fill(chunks)
    longer = with_drafts(chunks, {sequence: [7, 8]})
    filler.fill(longer)
    assert batch.rows == [(sequence.seq, 2, 50, True), (sequence.seq, 3, 7, True), (sequence.seq, 4, 8, True)]
    assert sequence.drafted == 2
    filler.fill(longer)
    filler.fill(chunks)
    assert batch.rows == [(sequence.seq, 2, 50, True)]
