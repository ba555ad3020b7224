"""Sequences that come, run, fork, are aborted, sent back and kept, on cells that count themselves."""

from __future__ import annotations

import json
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

from tests.engine.kv.memory import FakeMemory
from threadrunner.engine.kv import cells as cells_module
from threadrunner.engine.kv import heights, kv_store, leaving
from threadrunner.engine.kv import parking as parking_module
from threadrunner.engine.kv.buffers import PAGE
from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.kv.compaction import Compaction
from threadrunner.engine.kv.kv_store import KvStore
from threadrunner.engine.kv.parking import Parking
from threadrunner.engine.scheduler import Chunk
from threadrunner.engine.sequence import Request, Sequence

N_CELLS, N_SEQ, WINDOW = 24, 5, 2
ROOMY = 1 << 20
"""Bytes in which all that a life has seen can be parked."""
TOKEN = st.integers(0, 1)
STEMS = [[5, 6, 7, 8, 9, 5, 6, 7, 8, 9], [5, 6, 7, 9, 8, 7, 6, 5]]
PROMPT = st.builds(
    lambda stem, size, more: [*stem[:size], *more],
    st.sampled_from(STEMS),
    st.integers(1, 10),
    st.lists(TOKEN, max_size=2),
)
"""Prompts that have much in common."""


def cells_on(
    memory: FakeMemory, folder: Path | None = None, *, ram: int = 0, block: int = 4, window: int = 0, **kind: bool
) -> Cells:
    """`ram` bytes for what is parked in memory; whole states where there is a window."""
    store = KvStore(folder, "test", 1 << 20) if folder is not None else None
    points = bool(ram) and bool(window or kind.get("recurrent"))
    parking = Parking(memory, store, max_bytes=ram, block_tokens=block if ram else 1 << 20, points=points)
    return Cells(memory, parking, window=window, **kind)


class Lives(RuleBasedStateMachine):
    """What the engine does with Cells, in any order."""

    window = 0
    recurrent = False
    ram = 0
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
        self.cells = cells_on(self.memory, self.folder, ram=self.ram, recurrent=self.recurrent, window=self.window)
        self.compaction = Compaction(self.cells, self.waiting.append, allowed=True)

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
        size = self.cells.before_last([Chunk(sequence, min(size, sequence.remaining), None)])[0].size
        if not self._room_for(sequence, size):
            return
        self._compute(sequence, size)
        sequence.evaluated += size
        if sequence.remaining:
            self.cells.checkpoint(sequence)
        else:
            self._say(sequence, following, siblings)
        if self.cells.after_batch():
            self.compaction.turn()

    def _say(self, sequence: Sequence, following: int, siblings: int) -> None:
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
            if sequence.seq < 0:
                self.waiting.append(sequence)

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

    @precondition(lambda self: self.ram and self.cells.cuttable and self.cells.free() > 4 + N_SEQ)
    @rule()
    def move_down(self) -> None:
        """Whether it pays or not; where it does, there is a gap of free cells."""
        before = {s: s.evaluated for s in self.cells.running}
        self.compaction.move()
        assert self.cells.running == list(before)
        if self.ram == ROOMY and not self.memory.refuses:
            assert all(s.evaluated >= evaluated for s, evaluated in before.items())

    @precondition(lambda self: self.ram)
    @rule(pieces=st.integers(1, 3))
    def tidy(self, pieces: int) -> None:
        for _ in range(pieces):
            self.cells.tidy()

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

    @invariant()
    def what_is_parked_is_bounded_and_what_it_says(self) -> None:
        tier = self.cells.parking.tier
        assert tier.bytes <= self.ram
        for tokens, blocks in tier.leaves():
            assert [end for b in blocks[:-1] for end in (b.end % 4,)] == [0] * (len(blocks) - 1)
            saved = [cell for b in blocks if b.state for cell in json.loads(bytes(b.state.view()))]
            assert [(position, token) for position, token, _ in saved] == [*enumerate(tokens)]

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
        machine, settings=settings(max_examples=30, stateful_step_count=60, deadline=None, phases=phases)
    )


@pytest.mark.parametrize(("recurrent", "window"), [(False, 0), (True, 0), (False, WINDOW)])
def test_the_count_is_exact_and_no_id_leaks(recurrent: bool, window: int) -> None:
    live(recurrent=recurrent, window=window)


@pytest.fixture
def _small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a few tokens and steps were many."""
    monkeypatch.setattr(parking_module, "MIN_GAIN", 1)
    monkeypatch.setattr(cells_module, "POINT_EVERY", 3)
    monkeypatch.setattr(leaving, "WORTH_A_RETURN", 2)
    monkeypatch.setattr(leaving, "WORTH_A_SAVE", 4)
    for name, number in {"MIN_GAP": 1, "WORTH_A_MOVE": 1, "A_WHILE": 2}.items():
        monkeypatch.setattr(heights, name, number)
    for module in (parking_module, kv_store):
        monkeypatch.setattr(module, "MIN_TOKENS", 2)


@pytest.mark.usefixtures("_small_numbers")
@pytest.mark.parametrize("ram", [5 * PAGE, ROOMY])
@pytest.mark.parametrize(("recurrent", "window"), [(False, 0), (True, 0), (False, WINDOW)])
def test_nor_when_they_are_parked(ram: int, recurrent: bool, window: int) -> None:
    live(ram=ram, recurrent=recurrent, window=window)


@pytest.mark.usefixtures("_small_numbers")
@pytest.mark.parametrize(
    ("recurrent", "window", "ram"),
    [(False, 0, 0), (False, WINDOW, 0), (False, 0, 5 * PAGE), (True, 0, ROOMY), (False, WINDOW, ROOMY)],
)
def test_nor_when_sequences_come_back_from_disk(recurrent: bool, window: int, ram: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        live(recurrent=recurrent, window=window, ram=ram, folder=Path(folder) / "kv")


# moments that random lives come to rarely


def waiting(tokens: list[int]) -> Sequence:
    return Sequence(Request(0, tokens, None), 0, None, None, 0, list(tokens))  # type: ignore[arg-type]


def evaluated(memory: FakeMemory, cells: Cells, tokens: list[int], size: int | None = None) -> Sequence:
    """A running sequence, its first `size` tokens evaluated, all of them by default and published then."""
    sequence = waiting(tokens)
    assert cells.place(sequence)
    size_ = len(tokens) if size is None else size
    while size_ - sequence.evaluated > cells.free():
        assert cells.evict_one()
    evaluate(memory, sequence, size_)
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
    cells = cells_on(memory, window=2)
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
    cells = cells_on(memory, window=2)
    long = evaluated(memory, cells, [1, 2, 3, 4, 5, 6, 7], size=6)
    short = evaluated(memory, cells, [1, 9])
    cells.finish(short)
    memory.overwrite(long.seq)
    evaluate(memory, long, 7)
    cells.publish(long)
    third = evaluated(memory, cells, [1, 2, 3, 9])
    assert memory.tokens(third.seq) == third.tokens
    assert cells.used() == memory.used


@pytest.mark.usefixtures("_small_numbers")
def test_what_comes_from_disk_pushes_out_what_is_idle(tmp_path: Path) -> None:
    known = [1, 2, 3, 4, 5, 6]
    memory = FakeMemory(10, 4)
    cells = cells_on(memory, tmp_path)
    cells.finish(evaluated(memory, cells, known))
    assert cells.save() == 1
    memory = FakeMemory(10, 4)
    cells = cells_on(memory, tmp_path)
    for other in (7, 8):
        cells.finish(evaluated(memory, cells, [other] * 4))
    sequence = evaluated(memory, cells, [*known, 0], size=6)
    assert sequence.cached == 6
    assert len(cells.cache.idle()) == 1
    assert cells.used() == memory.used == 10


@pytest.mark.usefixtures("_small_numbers")
def test_a_state_that_is_refused_is_not_taken_for_the_one_of_the_cells_beside_it() -> None:
    """The cells have all rows that the point needs: nothing is missing but the state, and that is of a longer text."""
    memory = FakeMemory(40, 4, recurrent=True)
    cells = cells_on(memory, ram=1 << 20, recurrent=True)
    long = evaluated(memory, cells, [1, 2, 3, 4, 5, 6, 7], size=6)
    cells.checkpoint(long)
    evaluate(memory, long, 7)
    cells.publish(long)
    memory.refuses = True
    short = evaluated(memory, cells, [1, 2, 3, 4, 5, 6, 0], size=0)
    assert short.cached == short.evaluated == memory.last_position(short.seq) + 1 == 0
    evaluate(memory, short, 7)


@pytest.mark.usefixtures("_small_numbers")
def test_a_window_from_disk_that_has_moved_on_is_not_put_behind_a_beginning_from_the_cells(tmp_path: Path) -> None:
    """Whole from its first position on, as it seemed, and yet without the tokens just before the next one."""
    memory = FakeMemory(40, 4, window=2)
    cells = cells_on(memory, tmp_path, window=2)
    long = evaluated(memory, cells, [1, 2, 3, 4, 5, 6, 7])
    memory.overwrite(long.seq)
    cells.finish(long)
    assert cells.save() == 1
    memory = FakeMemory(40, 4, window=2)
    cells = cells_on(memory, tmp_path, window=2)
    cells.finish(evaluated(memory, cells, [1, 2]))
    cut = waiting([1, 2, 3, 4, 9])
    assert cells.place(cut)
    evaluate(memory, cut, 5)
    assert memory.tokens(cut.seq) == cut.tokens
    assert cells.used() == memory.used


# what is parked


def finished(memory: FakeMemory, cells: Cells, tokens: list[int]) -> None:
    cells.finish(evaluated(memory, cells, tokens))


def tidy(cells: Cells) -> None:
    while cells.tidy():
        pass


@pytest.mark.usefixtures("_small_numbers")
def test_none_that_fits_is_lost() -> None:
    """Of more conversations than the cells hold, each comes back whole, beginnings that they share among them."""
    memory = FakeMemory(30, 4)
    cells = cells_on(memory, ram=1 << 20)
    conversations = [[7, 7, 7, 7, 7, *([i] * 9)] for i in range(20)]
    for conversation in conversations:
        finished(memory, cells, conversation)
    assert cells.parking.tier.tokens < 20 * 14 - 19 * 4 + 1, "what is shared is kept once"
    for conversation in conversations:
        sequence = evaluated(memory, cells, [*conversation, 0], size=14)
        assert sequence.cached == 14
        assert cells.used() == memory.used
        cells.finish(sequence)


@pytest.mark.usefixtures("_small_numbers")
def test_after_idle_time_the_next_sequence_has_the_cells_to_itself_and_the_last_one_is_still_in_them() -> None:
    memory = FakeMemory(40, 4)
    cells = cells_on(memory, ram=1 << 20)
    for first in (1, 2, 3):
        finished(memory, cells, [first] * 9)
        tidy(cells)
    assert memory.used == 9, "those before it have made way"
    again = evaluated(memory, cells, [*[3] * 9, 4])
    assert again.cached == 9
    assert memory.used == 10


@pytest.mark.usefixtures("_small_numbers")
def test_a_busy_engine_parks_what_has_waited_one_block_at_a_time() -> None:
    memory = FakeMemory(40, 4)
    cells = cells_on(memory, ram=1 << 20)
    running = evaluated(memory, cells, [9, 9])
    finished(memory, cells, [1] * 7)
    kept = []
    while memory.used > 2:
        cells.after_batch()
        kept.append(cells.parking.tier.tokens)
    assert kept == [0, 0, 0, 4, 7, 7]
    assert cells.running == [running]


@pytest.mark.usefixtures("_small_numbers")
def test_for_a_short_answer_none_leaves() -> None:
    memory = FakeMemory(40, 4)
    cells = cells_on(memory, ram=1 << 20)
    finished(memory, cells, [1] * 7)
    tidy(cells)
    short = Sequence(Request(0, [2], None, max_tokens=1), 0, None, None, 0, [2])  # type: ignore[arg-type]
    assert cells.place(short)
    assert memory.used == 7


@pytest.mark.usefixtures("_small_numbers")
def test_what_is_sent_back_goes_on_from_where_it_was() -> None:
    memory = FakeMemory(40, 4)
    cells = cells_on(memory, ram=1 << 20)
    sequence = evaluated(memory, cells, [1, 2, 3, 4, 5, 6, 7], size=6)
    cells.preempt(sequence)
    assert memory.used == 0
    assert cells.place(sequence)
    assert sequence.evaluated == 6 == memory.used


@pytest.mark.usefixtures("_small_numbers")
def test_a_state_that_is_refused_is_forgotten_and_evaluated_again() -> None:
    memory = FakeMemory(40, 4)
    cells = cells_on(memory, ram=1 << 20)
    finished(memory, cells, [1] * 9)
    assert cells.evict_one()
    memory.refuses = True
    sequence = evaluated(memory, cells, [1] * 10, size=0)
    assert sequence.cached == 0 == memory.used == cells.parking.tier.bytes


@pytest.mark.usefixtures("_small_numbers")
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("pages", "kept"), [(2, 0), (3, 4)])
def test_what_makes_room_may_push_out_what_the_room_is_for(recurrent: bool, pages: int, kept: int) -> None:
    """Memory holds that many blocks of four tokens: those of the one that must leave its cells are saved first."""
    memory = FakeMemory(8, 4, recurrent=recurrent)
    cells = cells_on(memory, ram=pages * PAGE * (1 + recurrent), recurrent=recurrent)
    first = evaluated(memory, cells, [1] * 8)
    cells.finish(first)
    assert cells.evict_one()
    finished(memory, cells, [2] * 7)
    again = waiting([1] * 8 + [0])
    assert cells.place(again)
    assert again.cached == (0 if recurrent else kept) == memory.used == cells.used()
    evaluate(memory, again, 8)
    assert memory.tokens(again.seq) == [1] * 8
