"""Sequences that come, run, fork, are aborted, sent back and kept, on cells that count themselves."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.engine.memory import FakeMemory
from threadrunner.engine import cells as cells_module
from threadrunner.engine import kv_store
from threadrunner.engine.cells import Cells
from threadrunner.engine.kv_store import KvStore
from threadrunner.engine.sequence import Request, Sequence

N_CELLS, N_SEQ, WINDOW = 24, 5, 2
TOKEN = st.integers(0, 1)
STEMS = [[5, 6, 7, 8, 9, 5, 6, 7, 8, 9], [5, 6, 7, 9, 8, 7, 6, 5]]
PROMPT = st.builds(
    lambda stem, size, more: [*stem[:size], *more],
    st.sampled_from(STEMS),
    st.integers(1, 10),
    st.lists(TOKEN, max_size=2),
)
"""Prompts that have much in common."""


class Lives(RuleBasedStateMachine):
    """What the engine does with Cells, in any order."""

    window = 0
    recurrent = False
    folder: Path | None = None

    @initialize()
    def begin(self) -> None:
        self.waiting: list[Sequence] = []
        self.born = 0
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._new_process()

    def _new_process(self) -> None:
        self.memory = FakeMemory(N_CELLS, N_SEQ, window=self.window, recurrent=self.recurrent)
        store = KvStore(self.folder, "test", 1 << 20) if self.folder is not None else None
        self.cells = Cells(self.memory, store, recurrent=self.recurrent, window=self.window)

    # a sequence comes

    @rule(prompt=PROMPT)
    def arrive(self, prompt: list[int]) -> None:
        self.waiting.append(self._sequence(prompt))
        self.admit()

    @rule()
    def admit(self) -> None:
        if self.waiting and self.cells.place(self.waiting[0]):
            sequence = self.waiting.pop(0)
            assert sequence.evaluated < len(sequence.tokens)

    def _sequence(self, prompt: list[int]) -> Sequence:
        self.born += 1
        request = Request(self.born, prompt, None)  # type: ignore[arg-type]
        return Sequence(request, 0, None, None, self.born, list(prompt))  # type: ignore[arg-type]

    # it runs

    @precondition(lambda self: self.cells.running)
    @rule(choice=st.integers(0), size=st.integers(1, 10), following=TOKEN, siblings=st.integers(0, 2))
    def evaluate(self, choice: int, size: int, following: int, siblings: int) -> None:
        sequence = self._running(choice)
        size = min(size, sequence.remaining)
        if not self._room_for(sequence, size):
            return
        self._compute(sequence, size)
        sequence.evaluated += size
        if sequence.remaining:
            return
        if not sequence.generated:
            self.cells.publish(sequence)
            for _ in range(siblings):
                self._fork(sequence, following)
        sequence.tokens.append(following)
        sequence.generated += 1

    def _fork(self, sequence: Sequence, following: int) -> None:
        sibling = self._sequence(sequence.tokens)
        if self.cells.fork(sequence, sibling):
            sibling.tokens.append(following)
            sibling.generated += 1
        else:
            self.waiting.append(sibling)

    @precondition(lambda self: self.cells.running)
    @rule(choice=st.integers(0), size=st.integers(1, 6), done=st.integers(0, 6))
    def abort(self, choice: int, size: int, done: int) -> None:
        """A batch of which only a part was evaluated."""
        sequence = self._running(choice)
        size = min(size, sequence.remaining)
        if self._room_for(sequence, size):
            self._compute(sequence, min(done, size))
            self.memory.abort(sequence.seq)
            self.cells.resync(sequence)
            assert sequence.remaining

    def _compute(self, sequence: Sequence, size: int) -> None:
        for position in range(sequence.evaluated, sequence.evaluated + size):
            self.memory.evaluate(sequence.seq, position, sequence.tokens[position])

    def _room_for(self, sequence: Sequence, size: int) -> bool:
        """As the engine makes it; False when the sequence itself had to go."""
        while size > self.cells.free():
            if not self.cells.evict_one():
                victim = max(self.cells.running, key=lambda s: s.arrival)
                self._send_back(victim)
                if victim is sequence:
                    return False
        return True

    def _running(self, choice: int) -> Sequence:
        return self.cells.running[choice % len(self.cells.running)]

    @precondition(lambda self: self.window)
    @rule(seqs=st.sets(st.integers(0, N_SEQ - 1)))
    def overwrite(self, seqs: set[int]) -> None:
        for seq in seqs:
            self.memory.overwrite(seq)

    # it goes

    @precondition(lambda self: self.cells.running)
    @rule(choice=st.integers(0))
    def finish(self, choice: int) -> None:
        sequence = self._running(choice)
        self.cells.finish(sequence)
        assert sequence not in self.cells.running

    @precondition(lambda self: self.cells.running)
    @rule(choice=st.integers(0))
    def preempt(self, choice: int) -> None:
        self._send_back(self._running(choice))

    def _send_back(self, sequence: Sequence) -> None:
        self.cells.preempt(sequence)
        self.waiting.append(sequence)

    @rule()
    def evict(self) -> None:
        before = self.cells.used()
        if self.cells.evict_one():
            assert self.cells.used() <= before

    @precondition(lambda self: self.folder is not None)
    @rule(refuses=st.booleans())
    def restart(self, refuses: bool) -> None:
        """The process ends, and the next one finds what it saved."""
        for sequence in list(self.cells.running):
            self.cells.finish(sequence)
        self.cells.save()
        self.waiting.clear()
        self._new_process()
        self.memory.refuses = refuses

    # always

    @invariant()
    def the_count_is_the_memorys(self) -> None:
        assert self.cells.used() == self.memory.used <= N_CELLS

    @invariant()
    def each_sequence_has_its_tokens(self) -> None:
        for sequence in self.cells.running:
            assert self.memory.tokens(sequence.seq) == sequence.tokens[: sequence.evaluated]
            known = self.cells.cache.tokens(sequence.seq)
            assert known == sequence.tokens[: len(known)]
        for seq in self.cells.cache.idle():
            assert self.memory.tokens(seq) == self.cells.cache.tokens(seq)

    @invariant()
    def each_id_is_in_one_place(self) -> None:
        running = [sequence.seq for sequence in self.cells.running]
        ids = [*running, *self.cells.cache.idle(), *self.cells.free_seqs]
        assert sorted(ids) == list(range(N_SEQ))
        assert all(sequence.seq < 0 for sequence in self.waiting)

    def teardown(self) -> None:
        for sequence in list(self.cells.running):
            self.cells.finish(sequence)
        while self.cells.evict_one():
            pass
        assert self.cells.used() == self.memory.used == 0
        assert self.cells.free_seqs == frozenset(range(N_SEQ))


def live(**kind: object) -> None:
    machine = type("Lives", (Lives,), kind)
    phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]  # without `explain`, which takes minutes
    run_state_machine_as_test(
        machine, settings=settings(max_examples=100, stateful_step_count=60, deadline=None, phases=phases)
    )


@pytest.mark.parametrize(("recurrent", "window"), [(False, 0), (True, 0), (False, WINDOW)])
def test_the_count_is_exact_and_no_id_leaks(recurrent: bool, window: int) -> None:
    live(recurrent=recurrent, window=window)


@pytest.mark.parametrize("window", [0, WINDOW])
def test_nor_when_sequences_come_back_from_disk(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cells_module, kv_store):
        monkeypatch.setattr(module, "MIN_TOKENS", 2)
    with tempfile.TemporaryDirectory() as folder:
        live(window=window, folder=Path(folder) / "kv")


# moments that random lives come to rarely


def evaluated(memory: FakeMemory, cells: Cells, tokens: list[int], size: int | None = None) -> Sequence:
    """A running sequence, its first `size` tokens evaluated, all of them by default and published then."""
    sequence = Sequence(Request(0, tokens, None), 0, None, None, 0, list(tokens))  # type: ignore[arg-type]
    assert cells.place(sequence)
    evaluate(memory, sequence, len(tokens) if size is None else size)
    if size is None:
        cells.publish(sequence)
    return sequence


def evaluate(memory: FakeMemory, sequence: Sequence, size: int) -> None:
    for position in range(sequence.evaluated, size):
        memory.evaluate(sequence.seq, position, sequence.tokens[position])
    sequence.evaluated = size


def test_a_candidate_whose_prompt_is_a_double_is_not_forked() -> None:
    """The leaf has lost the beginning of the prompt, so that both have it; the tree knows the leaf's alone."""
    memory = FakeMemory(40, 4, window=2)
    cells = Cells(memory, None, window=2)
    leaf = evaluated(memory, cells, [1, 2, 3, 4, 5, 6])
    seq = leaf.seq
    cells.finish(leaf)
    memory.overwrite(seq)
    first = evaluated(memory, cells, [1, 2, 9])
    assert cells.cache.length(first.seq) == 0
    second = Sequence(Request(0, first.tokens, None), 1, None, None, 0, [*first.tokens])  # type: ignore[arg-type]
    assert not cells.fork(first, second)
    assert cells.evict_one()
    cells.publish(first)
    assert cells.fork(first, second)
    assert cells.used() == memory.used == 3


def test_a_sequence_that_lost_its_beginning_does_not_get_it_from_another() -> None:
    """Else it would seem to have all from there on, and give what it has not to a third."""
    memory = FakeMemory(40, 4, window=2)
    cells = Cells(memory, None, window=2)
    long = evaluated(memory, cells, [1, 2, 3, 4, 5, 6, 7], size=6)
    short = evaluated(memory, cells, [1, 9])
    cells.finish(short)
    memory.overwrite(long.seq)
    evaluate(memory, long, 7)
    cells.publish(long)
    third = evaluated(memory, cells, [1, 2, 3, 9])
    assert memory.tokens(third.seq) == third.tokens
    assert cells.used() == memory.used


def test_what_comes_from_disk_pushes_out_what_is_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cells_module, kv_store):
        monkeypatch.setattr(module, "MIN_TOKENS", 2)
    known = [1, 2, 3, 4, 5, 6]
    memory = FakeMemory(10, 4)
    cells = Cells(memory, KvStore(tmp_path, "test", 1 << 20))
    cells.finish(evaluated(memory, cells, known))
    assert cells.save() == 1
    memory = FakeMemory(10, 4)
    cells = Cells(memory, KvStore(tmp_path, "test", 1 << 20))
    for other in (7, 8):
        cells.finish(evaluated(memory, cells, [other] * 4))
    sequence = evaluated(memory, cells, [*known, 0], size=6)
    assert sequence.cached == 6
    assert len(cells.cache.idle()) == 2
    assert cells.used() == memory.used == 10
