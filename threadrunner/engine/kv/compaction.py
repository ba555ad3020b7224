"""Sequences that run at high cells, among empty ones, move down.

A CPU's attention looks at every cell up to the highest used one. Of eight sequences of 800 tokens seven end and leave:
each token of the last one then took 13 to 19 % longer, for 5,600 empty cells, until its end. It moves by way of memory,
as what is kept does: 3 us a token out and as much in (SmolLM2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.sequence import Sequence

log = logging.getLogger("threadrunner.engine")

MAX_TOKENS = 16384
"""Of all that run, at most: those who read wait 50 ms for the move (SmolLM2)."""


class Compaction:
    """Moves all that runs, once for each time that it pays (heights.py says when). The engine calls it between batches:
    what is not saved yet is, a block after each batch; then the cells are given back and taken anew."""

    def __init__(self, cells: Cells, send_back: Callable[[Sequence], None], *, allowed: bool) -> None:
        """`send_back`: for one that ran and has found no place again. `allowed`: the processor computes; what a move
        costs and gains on a GPU was not measured."""
        self._cells = cells
        self._send_back = send_back
        self._allowed = allowed
        self._saved = 0
        """Blocks, for the move that is about to come."""

    def turn(self) -> None:
        """A batch has ended, and Heights has waited for it."""
        heights, running = self._cells.heights, self._cells.running
        if not self._can_move():
            heights.forget()
        elif not heights.look([s.seq for s in running], self._cells.used(), self._idle(), self._tokens()):
            self._saved = 0
        elif not all(s.decoding and not s.drafted for s in running):
            heights.later()
        elif self._save_block():
            self._saved += 1
            heights.wait = 1
        else:
            self._saved = 0
            self.move()

    def _can_move(self) -> bool:
        cells = self._cells
        plain = not any(s.request.spans for s in cells.running)  # rows of a picture may have one position
        return self._allowed and cells.cuttable and cells.parking.keeps and plain and self._tokens() <= MAX_TOKENS

    def _tokens(self) -> int:
        return sum(s.evaluated for s in self._cells.running)

    def _idle(self) -> int:
        cache = self._cells.cache
        return sum(map(cache.own_cells, cache.idle()))

    def _save_block(self) -> bool:
        """Of one of them, where a whole one is not saved; not for ever, where memory for one is taken from another."""
        parking = self._cells.parking
        size = parking.tier.block_tokens
        if self._saved > self._tokens() // size:
            return False
        return any(parking.save_next(s.seq, s.known_as(s.evaluated // size * size)) for s in self._cells.running)

    def move(self) -> None:
        """Each sequence that runs takes its cells anew; none does where not all can be saved: that would be lost."""
        cells, running = self._cells, list(self._cells.running)
        if not self._save(running):
            cells.heights.forget()
            return
        for sequence in running:
            cells.preempt(sequence)
        for sequence in running:
            if not cells.place(sequence):
                self._send_back(sequence)
        cells.heights.moved([s.seq for s in cells.running], cells.used())
        log.info("%d sequences moved down, %d tokens", len(running), self._tokens())

    def _save(self, running: list[Sequence]) -> bool:
        """What is missing of each, as far as it fits; whether all of all is saved now."""
        parking = self._cells.parking
        known = {s.seq: s.known_as(s.evaluated) for s in running}
        for seq, tokens in known.items():
            while parking.save_next(seq, tokens):
                pass
        return all(map(parking.is_saved, known.values()))
