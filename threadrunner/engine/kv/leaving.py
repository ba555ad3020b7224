"""Which kept sequences leave the cells, and when: what they cost those that run, against what it costs to move them."""

from __future__ import annotations

import sys
from collections.abc import Callable

from threadrunner.engine.kv.parking import Parking
from threadrunner.engine.kv.prefix_cache import PrefixCache

WORTH_A_RETURN = 8
"""Steps of others after which state that is saved already should have left: to bring it back costs as much as they lose
by it. Who decides so without knowing the future loses at most twice what was to lose (rent or buy)."""
WORTH_A_SAVE = 32
"""The same for state that must be saved first, while others wait for their next token."""


class Leaving:
    """The kept sequences of a prefix tree, on their way into memory. Cells calls it, and is called back to `forget`
    one: take it out of the tree and of llama.cpp's cells."""

    def __init__(self, cache: PrefixCache, parking: Parking, forget: Callable[[int], None]) -> None:
        self._cache = cache
        self._parking = parking
        self._forget = forget
        self._steps = 0
        self._due = 0
        """The step before which none can be due to leave: to look for one costs each token 80 us."""
        self._since: dict[int, int] = {}
        """The step at which a sequence ended, or was looked at in vain for something to save."""
        self._unsaved: dict[int, None] = {}
        """Those of which something may not be saved yet, in the order of their end."""

    def ended(self, seq: int) -> None:
        """It is kept from now on."""
        self._since[seq] = self._steps
        self._unsaved[seq] = None
        self._due = min(self._due, self._steps + WORTH_A_RETURN)

    def gone(self, seq: int) -> None:
        """It is kept no more."""
        self._since.pop(seq, None)
        self._unsaved.pop(seq, None)

    def at_once(self, seq: int) -> None:
        """It must go; what is not saved yet is, as far as it fits."""
        tokens = self._cache.tokens(seq)
        while self._parking.save_next(seq, tokens):
            pass
        self._forget(seq)

    def after_batch(self) -> None:
        """Those that have cost running sequences as much as it takes to save them, and to bring them back, leave: of
        one that is not saved yet one block at a time."""
        self._steps += 1
        if self._steps >= self._due:
            self._due = self._let_one_go() if self._parking.keeps else sys.maxsize

    def _let_one_go(self) -> int:
        """As far as one step may. The step at which to look again."""
        next_due = sys.maxsize
        for seq in self._cache.idle():
            since = self._since[seq]
            waited = self._steps - since
            if waited < WORTH_A_RETURN:
                next_due = min(next_due, since + WORTH_A_RETURN)
                continue
            tokens = self._cache.tokens(seq)
            if self._parking.is_saved(tokens):
                self._forget(seq)
            elif waited >= WORTH_A_SAVE or self._parking.is_quick(seq, tokens):
                if not self._parking.save_next(seq, tokens):
                    self._since[seq] = self._steps  # it does not fit: ask again later
            else:
                next_due = min(next_due, since + WORTH_A_SAVE)
                continue
            return self._steps + 1
        return next_due

    def in_idle_time(self) -> bool:
        """Save a block of the sequence that was used last. Whether there is more to do."""
        if not self._parking.keeps:
            return False
        while self._unsaved:
            seq = next(reversed(self._unsaved))
            if self._parking.save_next(seq, self._cache.tokens(seq)):
                self._due = 0
                return True
            del self._unsaved[seq]
        return self._parking.prepare()

    def before(self, steps: int, keep: int | None) -> None:
        """A sequence of about so many steps is about to take its cells: what is saved, and what can be saved in no
        time, leaves those at the beginning to it; `keep` is what it begins with."""
        if steps < WORTH_A_RETURN or not self._parking.keeps:
            return
        for seq in self._cache.idle():
            if seq == keep:
                continue
            tokens = self._cache.tokens(seq)
            while self._parking.is_quick(seq, tokens) and self._parking.save_next(seq, tokens):
                pass
            if self._parking.is_saved(tokens):
                self._forget(seq)
