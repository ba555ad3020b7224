"""How high in the cells the sequences that run may be, and when to move them down: what the empty cells below them
cost, against what the move costs.

llama.cpp puts new tokens into the lowest free cells, near enough, and never moves a cell. So a sequence that ran beside
others has cells up to as many as were in use then, and keeps them when the others have gone: attention looks at all
cells below its highest. llama.cpp does not tell which those are; our count of cells in use, at its highest while the
sequence ran, is at most a batch too low.

Pure: it sees sequence ids and counts.
"""

from __future__ import annotations

from collections.abc import Iterable

MIN_GAP = 512
"""Empty cells below which nothing is worth a look: they cost 2 % of a token (SmolLM2)."""
WORTH_A_MOVE = 32
"""Empty cells that a step looks at for the price of moving a token: 12 to 15 of a sequence in memory that was used
before, 70 in new memory. Who waits until as much is lost loses at most twice what was to lose (rent or buy)."""
A_WHILE = 16
"""Steps."""


class Heights:
    """Of all sequences. Cells tells it what comes and goes, Compaction asks."""

    def __init__(self) -> None:
        self.wait = 0
        """Batches until Compaction is to look; below 1 there is no reason to."""
        self._heights: dict[int, int] = {}
        """Of ids that nothing has now, what it was; nothing asks for that."""
        self._gap = 0
        self._planned = 0
        self._lost = 0

    def came(self, seq: int, source: int | None) -> None:
        """It is about to take the lowest cells, beside those that it shares with the source."""
        self._heights[seq] = 0 if source is None else self.of(source)

    def of(self, seq: int) -> int:
        """Cells below which all of its own are, so far as they were not taken since cells last became free."""
        return self._heights.get(seq, 0)

    def falls(self, used: int) -> None:
        """So many cells are in use, and some of them are about to become free."""
        for seq, height in self._heights.items():
            if height < used:
                self._heights[seq] = used
        if self.wait < 1:
            self.wait = 1

    def look(self, running: Iterable[int], used: int, idle: int, tokens: int) -> bool:
        """Whether to move those that run down, `tokens` in all; else `wait` says when to look again. `used` cells are
        in use, `idle` of them by kept sequences, which will leave by themselves."""
        self._lost += self._gap * self._planned
        self._gap, self._planned = max(map(self.of, running), default=0) - used, 0
        if self._gap < MIN_GAP:
            self.forget()
            return False
        steps = -(-(WORTH_A_MOVE * tokens - self._lost) // self._gap)
        if idle > self._gap // 4:
            steps = max(steps, A_WHILE)  # among them, those that run would not get low cells
        if steps > 0:
            self._planned = self.wait = steps
        return steps <= 0

    def later(self) -> None:
        """It was not possible now."""
        self._planned = self.wait = A_WHILE

    def forget(self) -> None:
        """There is nothing to do until cells become free again."""
        self.wait = self._gap = self._planned = self._lost = 0

    def moved(self, running: Iterable[int], used: int) -> None:
        """These have the lowest cells now. Where that is not so, for one that is kept lies below them or is shared with
        them, it is taken as so: each move is paid for by what came since the last one."""
        self._heights.update(dict.fromkeys(running, used))
        self.forget()
