"""Which of those that wait begin to run, and which of those that run make way for them.

What runs in the background may go on for minutes, and there is an end to how many sequences run at once and to their
cells: a request that a person waits for takes the place of the background's newest. That one loses its cells and not
its text; it waits in the queue, and goes on from what was kept of it in memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.limits import MAX_RUNNING
from threadrunner.engine.sequence import Priority, Sequence
from threadrunner.engine.waiting import Waiting, soon_known

log = logging.getLogger("threadrunner.engine")


class Admission:
    """Moves sequences between the queue and the cells."""

    def __init__(self, waiting: Waiting, cells: Cells) -> None:
        self._waiting = waiting
        self._cells = cells
        self._at_most = MAX_RUNNING
        """See `run_fewer`."""

    def admit(self, max_running: int, grow: Callable[[int], object]) -> None:
        """Let those that wait run, the most urgent first, as far as there is room. `grow` makes room for so many cells,
        where it can."""
        cells = self._cells
        for sequence in self._waiting:
            full = len(cells.running) >= min(max_running, self._at_most)
            if full and self._in_the_way(sequence) is None:
                return
            if soon_known(sequence, cells.running, cells.cache):
                continue
            if (lacking := cells.lacking(sequence)) > 0:
                grow(lacking)
            while full or not cells.place(sequence):
                if (victim := self._in_the_way(sequence)) is None:
                    return
                self.preempt(victim)
                full = False
            self._waiting.remove(sequence)
            sequence.started_at = sequence.started_at or time.monotonic()

    def _in_the_way(self, sequence: Sequence) -> Sequence | None:
        # where nothing can be kept of it, it would begin again each time, and might never end
        return gives_way(sequence.priority, self._cells.running) if self._cells.parking.keeps else None

    def preempt(self, sequence: Sequence) -> None:
        """Back to the queue: it loses its cells, not its text."""
        self._cells.preempt(sequence)
        self._waiting.add(sequence)

    def send_back(self) -> Sequence:
        """The newest of those that run, the least urgent first, goes back to the queue."""
        victim = max(self._cells.running, key=lambda s: (s.priority, s.arrival))
        log.info("out of cells: %r goes back to the queue", victim)
        self.preempt(victim)
        return victim

    def run_fewer(self) -> bool:
        """Where llama.cpp has no room though our accounting has: fewer run at once until one of them has ended. False
        where but one runs. Layers with a sliding window have cells of their own, and what is saved of a window comes
        back for each sequence apart: many that share a prompt need more of these than of the others."""
        if len(self._cells.running) < 2:
            return False
        self.send_back()
        self._at_most = len(self._cells.running)
        return True

    def ended(self) -> None:
        """One that ran has."""
        self._at_most = MAX_RUNNING


def gives_way(priority: Priority, running: Iterable[Sequence]) -> Sequence | None:
    """The running sequence that gives its place to one that waits with this priority: the newest of the background,
    where that is less urgent. Not in the midst of a picture, nor of a prompt that is scored, of which nothing is kept.
    """
    if priority is Priority.BACKGROUND:
        return None
    background = (s for s in running if s.priority is Priority.BACKGROUND and s.span is None and not s.scoring)
    return max(background, key=lambda s: s.arrival, default=None)
