"""llama.cpp's KV cells, so simple that they are right at a glance."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field


@dataclass
class Cell:
    place: int
    """Its number; llama.cpp takes the lowest that is free."""
    position: int
    token: int
    seqs: set[int] = field(default_factory=set)
    """The sequences that see it."""
    whole_for: set[int] = field(default_factory=set)
    """Those of them for which the layers with a sliding window have it too."""


class FakeMemory:
    """A threadrunner.engine.kv.cells.KvMemory that refuses what llama.cpp would answer wrongly."""

    def __init__(
        self, n_cells: int = 1 << 30, n_seq: int = 1 << 10, *, window: int = 0, recurrent: bool = False
    ) -> None:
        self.n_cells = n_cells
        self.n_seq = n_seq
        self._window = window
        self._recurrent = recurrent
        self._states: dict[int, list[int]] = {}
        """Of a recurrent model: what each sequence's state is of."""
        self._half_done: set[int] = set()
        self.refuses = False
        """A saved state, as llama.cpp does with one of another build."""
        self._cells: list[Cell] = []

    # as llama.cpp has them

    def share(self, source: int, target: int, begin: int, end: int) -> None:
        assert source != target
        self._states[target] = list(self._states.get(source, []))
        for cell in self._of(source, begin, end):
            assert not self._of(target, cell.position, cell.position + 1), "two cells at one position"
            cell.seqs.add(target)
            if source in cell.whole_for:
                cell.whole_for.add(target)

    def remove(self, seq: int, begin: int = -1, end: int = -1) -> None:
        if begin <= 0 and end < 0:
            self._half_done.discard(seq)
            self._states.pop(seq, None)
        else:
            assert not self._recurrent, "a state cannot go back"
        for cell in self._of(seq, begin, end):
            cell.seqs.discard(seq)
            cell.whole_for.discard(seq)
        self._cells = [cell for cell in self._cells if cell.seqs]

    def first_position(self, seq: int) -> int:
        return min((cell.position for cell in self._of(seq) if seq in cell.whole_for), default=-1)

    def last_position(self, seq: int) -> int:
        return max((cell.position for cell in self._of(seq)), default=-1)

    def state_size(self, seq: int, begin: int, end: int) -> int:
        return len(self._state(seq, begin, end))

    def save(self, seq: int, begin: int, end: int, into: memoryview) -> bool:
        into[:] = self._state(seq, begin, end)
        return True

    def _state(self, seq: int, begin: int, end: int) -> bytes:
        cells = sorted((cell.position, cell.token, seq in cell.whole_for) for cell in self._of(seq, begin, end))
        assert len(cells) == end - begin
        return json.dumps(cells).encode()

    def restore(self, seq: int, state: memoryview, begin: int, end: int) -> bool:
        saved = json.loads(bytes(state))
        assert not self._of(seq, begin, end)
        assert self.used + len(saved) <= self.n_cells, "a block comes whole before it is cut"
        if self.refuses:
            return False
        for position, token, whole in saved:
            if begin <= position < end:
                self._add(position, token, seq, whole=whole)
        self._states.pop(seq, None)
        return True

    def point_size(self, seq: int) -> int:
        return len(self._point(seq))

    def save_point(self, seq: int, into: memoryview) -> bool:
        into[:] = self._point(seq)
        return True

    def restore_point(self, seq: int, state: memoryview) -> bool:
        if self.refuses:
            return False
        self._states[seq] = json.loads(bytes(state))
        if self._window:
            assert self._states[seq] == self.tokens(seq)
            for cell in self._of(seq):
                if cell.position >= len(self._states[seq]) - self._window:
                    cell.whole_for.add(seq)
                else:
                    cell.whole_for.discard(seq)
        return True

    def _point(self, seq: int) -> bytes:
        assert seq not in self._half_done
        tokens = self.tokens(seq)
        if self._recurrent:
            assert self._states.get(seq, []) == tokens
        return json.dumps(tokens).encode()

    # what a batch does to them

    def evaluate(self, seq: int, position: int, token: int) -> None:
        assert position == self.last_position(seq) + 1
        assert seq not in self._half_done
        seen = [cell for cell in self._of(seq) if not self._window or cell.position > position - self._window]
        assert all(seq in cell.whole_for for cell in seen), "it looks at what was overwritten"
        if self._recurrent:
            assert self._states.get(seq, []) == self.tokens(seq), "a state of other tokens"
            self._states[seq] = [*self._states.get(seq, []), token]
        self._add(position, token, seq, whole=True)

    def abort(self, seq: int) -> None:
        """Its batch has ended before its end."""
        if self._recurrent:
            self._half_done.add(seq)

    def overwrite(self, seq: int) -> None:
        """What has left the window of a sequence is used for other cells, in the layers that have one."""
        assert self._window
        for cell in self._of(seq, end=max(0, self.last_position(seq) - self._window)):
            cell.whole_for.discard(seq)

    def _add(self, position: int, token: int, seq: int, *, whole: bool) -> None:
        assert len(self._cells) < self.n_cells, "no room"
        taken = {cell.place for cell in self._cells}
        place = next(place for place in itertools.count() if place not in taken)
        self._cells.append(Cell(place, position, token, {seq}, {seq} if whole else set()))

    # what a test asks

    @property
    def used(self) -> int:
        return len(self._cells)

    @property
    def height(self) -> int:
        """Cells up to the highest that is used."""
        return max((cell.place + 1 for cell in self._cells), default=0)

    def tokens(self, seq: int) -> list[int]:
        return [token for _, token in sorted((cell.position, cell.token) for cell in self._of(seq))]

    def _of(self, seq: int, begin: int = -1, end: int = -1) -> list[Cell]:
        return [c for c in self._cells if seq in c.seqs and begin <= c.position and (end < 0 or c.position < end)]
