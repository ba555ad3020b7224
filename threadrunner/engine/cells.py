"""The KV cache's cells and sequence ids: which sequence has which, what is kept of those that ended, what goes first
when room is short.

The count here must be llama.cpp's own at every moment (tests compare them over thousands of lives): a cell that is
forgotten is lost for good, one counted twice makes a request wait for ever.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Protocol

from threadrunner.engine.parking import WORTH_A_RETURN, WORTH_A_SAVE, Parking, StateMemory
from threadrunner.engine.prefix_cache import PrefixCache
from threadrunner.engine.sequence import Sequence

log = logging.getLogger("threadrunner.engine")

UNKNOWN_LENGTH = 64
"""Tokens that an answer without a limit is expected to have."""


class KvMemory(StateMemory, Protocol):
    """The cells themselves, each at a position and seen by one or more sequence ids (llama.Context is one). Positions
    are [begin, end); without them, all that the sequence has."""

    @property
    def n_cells(self) -> int: ...

    @property
    def n_seq(self) -> int:
        """Sequence ids, from 0 on."""

    def share(self, source: int, target: int, begin: int, end: int) -> None:
        """`target` sees these cells of `source` too."""

    def remove(self, seq: int, begin: int = -1, end: int = -1) -> None:
        """`seq` sees these cells no more; those that no sequence sees are free."""

    def first_position(self, seq: int) -> int:
        """The first that is whole in all layers; -1 for none."""

    def last_position(self, seq: int) -> int:
        """-1 for none."""


class Cells:
    """Gives sequences their id and cells, takes them back, and keeps what ended sequences evaluated: in cells for a
    while, then in memory (parking.py). Owns the list of running sequences and the prefix tree; moves llama.cpp's cells
    as the tree says.

    The engine calls it on the computing thread, between batches. What a batch takes is not reserved: before each one,
    the engine makes `free` at least as large as the batch, by `evict_one` and `preempt`.
    """

    def __init__(self, memory: KvMemory, parking: Parking, *, recurrent: bool = False, window: int = 0) -> None:
        """`recurrent`: a state cannot go back by a part of what it evaluated. `window`: tokens that layers with a
        sliding window look back, 0 for a model without them."""
        self.cache = PrefixCache()
        self.parking = parking
        self.running: list[Sequence] = []
        """Those with a sequence id, in the order in which they got it. Changed here only."""
        self._memory = memory
        self._recurrent = recurrent
        self._window = window
        self._free_seqs = list(range(memory.n_seq))[::-1]
        self._steps = 0
        self._idle_since: dict[int, int] = {}
        """The step at which a kept sequence ended, or was looked at in vain for something to save."""
        self._unsaved: dict[int, None] = {}
        """Kept sequences of which something may not be saved yet, in the order of their end."""

    # the count

    def used(self) -> int:
        """Cells in use: running sequences' and kept ones."""
        return self.cache.cells + sum(s.evaluated - self.cache.length(s.seq) for s in self.running)

    def free(self) -> int:
        return self._memory.n_cells - self.used()

    @property
    def free_seqs(self) -> frozenset[int]:
        """Sequence ids that neither a running sequence nor a kept one has."""
        return frozenset(self._free_seqs)

    def _idle(self, keep: int | None = None) -> int:
        # cells that two idle leaves share are not counted: an underestimate, which only makes a request wait
        return sum(self.cache.own_cells(seq) for seq in self.cache.idle() if seq != keep)

    def lacking(self, sequence: Sequence) -> int:
        """Cells that a waiting sequence needs beyond all those that can be made free for it, if above 0."""
        length, source = self._known(sequence.tokens[:-1])
        return len(sequence.tokens) - length + 1 - self.free() - self._idle(keep=source)

    def evict_one(self, keep: int | None = None) -> bool:
        """The leaf that was not used for longest, `keep` excepted, leaves the cells; False when there is none."""
        for seq in self.cache.idle():
            if seq != keep:
                self._park(seq)
                return True
        return False

    # kept sequences leave the cells

    def _park(self, seq: int) -> None:
        """A kept sequence leaves the cells at once; what is not saved yet is, as far as it fits."""
        tokens = self.cache.tokens(seq)
        while self.parking.save_next(seq, tokens):
            pass
        self._forget(seq)

    def _forget(self, seq: int) -> None:
        self.cache.drop(seq)
        self._release(seq)

    def after_batch(self) -> None:
        """Those that have cost running sequences as much as it takes to save them, and to bring them back, leave: of
        one that is not saved yet one block at a time."""
        self._steps += 1
        if not self.running or not self.parking.keeps:
            return
        for seq in self.cache.idle():
            waited = self._steps - self._idle_since[seq]
            if waited < WORTH_A_RETURN:
                continue
            tokens = self.cache.tokens(seq)
            if self.parking.is_saved(tokens):
                self._forget(seq)
            elif (waited >= WORTH_A_SAVE or self.parking.is_quick(seq, tokens)) and not self.parking.save_next(
                seq, tokens
            ):
                self._idle_since[seq] = self._steps  # it does not fit: ask again later
            return

    def tidy(self) -> bool:
        """In idle time: save a block of the kept sequence that was used last. Whether there is more to do."""
        if not self.parking.keeps:
            return False
        while self._unsaved:
            seq = next(reversed(self._unsaved))
            if self.parking.save_next(seq, self.cache.tokens(seq)):
                return True
            del self._unsaved[seq]
        return self.parking.prepare()

    def _clear_out(self, steps: int, keep: int | None) -> None:
        """Before a sequence of about so many steps takes its cells: what is saved, and what can be saved in no time,
        leaves those at the beginning to it."""
        if steps < WORTH_A_RETURN or not self.parking.keeps:
            return
        for seq in self.cache.idle():
            if seq == keep:
                continue
            tokens = self.cache.tokens(seq)
            while self.parking.is_quick(seq, tokens) and self.parking.save_next(seq, tokens):
                pass
            if self.parking.is_saved(tokens):
                self._forget(seq)

    # a sequence comes

    def place(self, sequence: Sequence) -> bool:
        """Give it a sequence id and what is known of its tokens; False when there is no room for the rest."""
        known = sequence.tokens[:-1]  # one token at least is evaluated: its logits count
        length, source = self._known(known)
        self._clear_out(len(known) - length + (sequence.request.max_tokens or UNKNOWN_LENGTH), keep=source)
        if self._bring_back(known, length, source):
            length, source = self._known(known)
        if self.running and self.lacking(sequence) > 0:
            return False
        if not self._free_seqs and not self.evict_one(keep=source):
            if not self.evict_one():
                return False
            source, length = None, 0
        self._give(sequence, source, length)
        if sequence.generated == 0:
            sequence.cached = length
        return True

    def fork(self, sequence: Sequence, sibling: Sequence) -> bool:
        """Give the sibling all that the sequence has evaluated and published; False when it must evaluate that itself,
        since no sequence id is left, or the sequence kept doubles to itself: shared, they would be counted twice."""
        if self._recurrent or self.cache.length(sequence.seq) < sequence.evaluated:
            return False
        if not (self._free_seqs or self.evict_one()):
            return False
        self._give(sibling, sequence.seq, sequence.evaluated)
        sibling.cached = sequence.evaluated
        return True

    def _give(self, sequence: Sequence, source: int | None, length: int) -> None:
        sequence.seq = self._free_seqs.pop()
        if source is not None:
            self._memory.share(source, sequence.seq, 0, length)
        self.cache.fork(sequence.seq, sequence.tokens, length)
        sequence.evaluated = length
        self.running.append(sequence)

    def _whole_source(self, length: int, holders: list[int]) -> int | None:
        """The most recently used holder that still has, in a windowed cache, all that the next token looks at."""
        if not length:
            return None
        if not self._window:
            return holders[-1]
        needed_from = max(0, length - self._window)
        return next((s for s in reversed(holders) if self._is_whole(s, needed_from)), None)

    def _is_whole(self, seq: int, position: int) -> bool:
        """Whether a sequence of a windowed model has all of its cells from this position on."""
        return 0 <= self._memory.first_position(seq) <= position

    def _known(self, tokens: list[int]) -> tuple[int, int | None]:
        """How many of these tokens the cells have, and a sequence to fork them from."""
        length, holders = self.cache.match(tokens)
        source = self._whole_source(length, holders)
        return (0, None) if source is None else (length, source)

    def _bring_back(self, tokens: list[int], length: int, source: int | None) -> bool:
        """Where more of these tokens is known outside of the cells than in them, make it a kept sequence again."""
        found = self.parking.find(tokens, more_than=length)
        if found is None or not self._free_seqs or found.room > self.free() + self._idle(keep=source):
            return False
        while found.room > self.free():
            self.evict_one(keep=source)
        seq = self._free_seqs.pop()
        if source is not None:
            self._memory.share(source, seq, 0, length)
        self.cache.fork(seq, tokens, length)
        now = self.parking.bring_back(seq, tokens, length, found)
        self._extend(seq, tokens[:now])
        self._retire(seq)
        return now > length

    # it runs

    def publish(self, sequence: Sequence) -> None:
        """What the sequence has evaluated becomes known to others; doubles of what others have are given back."""
        if not self._recurrent:
            self._extend(sequence.seq, sequence.tokens[: sequence.evaluated])

    def resync(self, sequence: Sequence) -> None:
        """A batch was aborted or failed: what llama.cpp has of the sequence is what counts."""
        sequence.evaluated = self._memory.last_position(sequence.seq) + 1
        if self._recurrent:
            # its state cannot go back by a part of a batch
            sequence.evaluated = 0
            self._memory.remove(sequence.seq)
        if sequence.evaluated == len(sequence.tokens):
            # its last token is in the cache, but its logits are lost: that token is done again
            sequence.evaluated -= 1
            self._memory.remove(sequence.seq, sequence.evaluated)

    def _extend(self, seq: int, tokens: list[int]) -> None:
        for source, begin, end in self.cache.extend(seq, tokens, partial(self._may_share, seq)):
            self._memory.remove(seq, begin, end)
            self._memory.share(source, seq, begin, end)

    def _may_share(self, seq: int, source: int, begin: int) -> bool:
        """A windowed cache overwrites what has left the window; from `begin` on, have both lost nothing? With the
        source's cells before a part that it lost itself, `seq` would look whole from its first position on."""
        if not self._window:
            return True
        return self._is_whole(source, begin) and self._is_whole(seq, begin)

    # it goes

    def finish(self, sequence: Sequence) -> None:
        """It has ended; what it evaluated is kept until room is short."""
        self.running.remove(sequence)
        self.publish(sequence)
        self._retire(sequence.seq)
        sequence.seq = -1

    def preempt(self, sequence: Sequence) -> None:
        """Its cells are needed: it goes on later, from what could be saved of it."""
        self.running.remove(sequence)
        if self.parking.keeps:
            self.publish(sequence)
            self._park(sequence.seq)
        else:
            self._forget(sequence.seq)
        sequence.seq = -1
        sequence.evaluated = 0

    def _retire(self, seq: int) -> None:
        # a sequence that kept doubles to itself is dropped with them: the tree has them from another one
        self._idle_since[seq] = self._steps
        self._unsaved[seq] = None
        for dropped in self.cache.retire(seq):
            self._release(dropped)

    def _release(self, seq: int) -> None:
        self._memory.remove(seq)
        self._idle_since.pop(seq, None)
        self._unsaved.pop(seq, None)
        self._free_seqs.append(seq)

    def save(self) -> int:
        """Write the hottest sequences to disk, those in cells first; how many were kept."""
        return self.parking.write([(seq, self.cache.tokens(seq)) for seq in self.cache.idle()[::-1]])

    def forget(self) -> None:
        """Nothing of finished requests is known any more."""
        for seq in self.cache.idle():
            self._forget(seq)
        self.parking.tier.shrink(0)
