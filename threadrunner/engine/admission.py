"""Which of those that wait begin to run, and which of those that run make way for them.

What runs in the background may go on for minutes, and there is an end to how many sequences run at once and to their
cells: a request that a person waits for takes the place of the background's newest. That one loses its cells and not
its text; it waits in the queue, and goes on from what was kept of it in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.sequence import Priority, Sequence
from threadrunner.engine.waiting import Waiting, soon_known


def admit(
    waiting: Waiting,
    cells: Cells,
    max_running: int,
    grow: Callable[[int], object],
    preempt: Callable[[Sequence], None],
) -> None:
    """Let those that wait run, the most urgent first, as far as there is room. `grow` makes room for so many cells,
    where it can; `preempt` sends a running sequence back to the queue."""
    for sequence in waiting:
        full = len(cells.running) >= max_running
        if full and _in_the_way(sequence, cells) is None:
            return
        if soon_known(sequence, cells.running, cells.cache):
            continue
        if (lacking := cells.lacking(sequence)) > 0:
            grow(lacking)
        while full or not cells.place(sequence):
            if (victim := _in_the_way(sequence, cells)) is None:
                return
            preempt(victim)
            full = False
        waiting.remove(sequence)
        sequence.started_at = sequence.started_at or time.monotonic()


def _in_the_way(sequence: Sequence, cells: Cells) -> Sequence | None:
    # where nothing can be kept of it, it would begin again each time, and might never end
    return gives_way(sequence.priority, cells.running) if cells.parking.keeps else None


def gives_way(priority: Priority, running: Iterable[Sequence]) -> Sequence | None:
    """The running sequence that gives its place to one that waits with this priority: the newest of the background,
    where that is less urgent. Not in the midst of a picture, nor of a prompt that is scored, of which nothing is kept.
    """
    if priority is Priority.BACKGROUND:
        return None
    background = (s for s in running if s.priority is Priority.BACKGROUND and s.span is None and not s.scoring)
    return max(background, key=lambda s: s.arrival, default=None)
