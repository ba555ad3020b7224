"""A context that begins with few cells and gets more with need.

To clear a cell costs 14 us (SmolLM2) and makes its memory resident: 16,384 of them cost every cold start 230 ms and 376
MiB that most days never need. To make a larger context later costs its own clearing, and what runs is moved by way of
memory, 4 us a token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.sequence import Sequence

log = logging.getLogger("threadrunner.engine")


class Resizable(Protocol):
    """Cells of which there can be more (llama.Context is one)."""

    @property
    def n_cells(self) -> int: ...

    def resize(self, n_cells: int) -> None:
        """So many cells, all empty. Raises LoadError, and has as many as before then."""


class Growth:
    """Makes the context larger, up to `max_cells`."""

    def __init__(self, context: Resizable, cells: Cells, max_cells: int, send_back: Callable[[Sequence], None]) -> None:
        """`send_back`: for a sequence that ran and has no place any more."""
        self._send_back = send_back
        self._context = context
        self._cells = cells
        self.max_cells = max_cells
        """To which it may grow: as many as there are, once there was no memory for more."""

    def grow(self, lacking: int) -> bool:
        """By at least `lacking` cells where that is allowed. Whether it was tried, and all that runs has moved."""
        before = self._context.n_cells
        if before >= self.max_cells or not self._cells.parking.keeps:
            return False
        running = list(self._cells.running)
        for sequence in running:
            self._cells.preempt(sequence)
        while self._cells.evict_one():
            pass
        wanted = next_size(before, lacking, self.max_cells)
        try:
            self._context.resize(wanted)
            log.info("the context grows from %d to %d cells", before, wanted)
        except LoadError as error:
            log.warning("no memory for %d cells: %s", wanted, error)
            self.max_cells = before
        for sequence in running:
            if not self._cells.place(sequence):
                self._send_back(sequence)
        return True


def next_size(cells: int, lacking: int, max_cells: int) -> int:
    """Twice as many, more where that is not enough, in llama.cpp's steps of 256."""
    return min(max_cells, max(2 * cells, -(-(cells + lacking) // 256) * 256))
