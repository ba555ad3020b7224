"""The KV cache's cells and sequence ids: which sequence has which, what is kept of those that ended, what goes first
when room is short.

The count here must be llama.cpp's own at every moment (tests compare them over thousands of lives): a cell that is
forgotten is lost for good, one counted twice makes a request wait for ever.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Protocol

from threadrunner.engine.kv_store import MIN_TOKENS, KvStore
from threadrunner.engine.prefix_cache import PrefixCache
from threadrunner.engine.sequence import Sequence

log = logging.getLogger("threadrunner.engine")


class KvMemory(Protocol):
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

    def save(self, seq: int) -> bytes: ...

    def restore(self, seq: int, data: bytes) -> bool:
        """Fill a sequence that has nothing; False when the bytes are refused."""


class Cells:
    """Gives sequences their id and cells, takes them back, and keeps what ended sequences evaluated until room is
    short. Owns the list of running sequences and the prefix tree; moves llama.cpp's cells as the tree says.

    The engine calls it on the computing thread, between batches. What a batch takes is not reserved: before each one,
    the engine makes `free` at least as large as the batch, by `evict_one` and `preempt`.
    """

    def __init__(self, memory: KvMemory, store: KvStore | None, *, recurrent: bool = False, window: int = 0) -> None:
        """`recurrent`: a state cannot go back by a part of what it evaluated. `window`: tokens that layers with a
        sliding window look back, 0 for a model without them."""
        self.cache = PrefixCache()
        self.store = store
        self.running: list[Sequence] = []
        """Those with a sequence id, in the order in which they got it. Changed here only."""
        self._memory = memory
        self._recurrent = recurrent
        self._window = window
        self._free_seqs = list(range(memory.n_seq))[::-1]

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

    def evict_one(self, keep: int | None = None) -> bool:
        """Forget the leaf that was not used for longest, `keep` excepted; False when there is none."""
        for seq in self.cache.idle():
            if seq != keep:
                self.cache.drop(seq)
                self._release(seq)
                return True
        return False

    # a sequence comes

    def place(self, sequence: Sequence) -> bool:
        """Give it a sequence id and what is known of its tokens; False when there is no room for the rest."""
        # one token at least is evaluated, since its logits count; of a prompt that is scored, each one's do
        known = [] if sequence.scoring else sequence.tokens[:-1]
        length, holders = self.cache.match(known)
        if self.store is not None and self._restore(self.store, known, length):
            length, holders = self.cache.match(known)
        source = self._whole_source(length, holders)
        if source is None:
            length = 0
        if self.running and len(sequence.tokens) - length + 1 > self.free() + self._idle(keep=source):
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
        return next((s for s in reversed(holders) if self._memory.first_position(s) <= needed_from), None)

    def _restore(self, store: KvStore, tokens: list[int], length: int) -> bool:
        """Bring back from disk what has more of these tokens than the cache."""
        stored, entry = store.match(tokens)
        if entry is None or stored < length + MIN_TOKENS or not self._free_seqs:
            return False
        if len(entry.tokens) + len(tokens) - stored > self.free() + self._idle():
            return False
        while len(entry.tokens) > self.free():
            self.evict_one()
        state = store.take(entry)
        if state is None:
            return False
        seq = self._free_seqs.pop()
        self.cache.fork(seq, [], 0)
        if not self._memory.restore(seq, state):
            log.warning("llama.cpp refused the state in %s", entry.path.name)
            self.cache.drop(seq)
            self._release(seq)
            return False
        self._extend(seq, entry.tokens)
        self._retire(seq)
        return True

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

    def rewind(self, sequence: Sequence, evaluated: int) -> None:
        """Forget what a running sequence that was never published has evaluated beyond this many tokens."""
        if evaluated < sequence.evaluated:
            sequence.evaluated = evaluated
            self._memory.remove(sequence.seq, evaluated)

    def _extend(self, seq: int, tokens: list[int]) -> None:
        for source, begin, end in self.cache.extend(seq, tokens, partial(self._may_share, seq)):
            self._memory.remove(seq, begin, end)
            self._memory.share(source, seq, begin, end)

    def _may_share(self, seq: int, source: int, begin: int) -> bool:
        """A windowed cache overwrites what has left the window; from `begin` on, have both lost nothing? With the
        source's cells before a part that it lost itself, `seq` would look whole from its first position on."""
        if not self._window:
            return True
        return self._memory.first_position(source) <= begin and self._memory.first_position(seq) <= begin

    # it goes

    def finish(self, sequence: Sequence) -> None:
        """It has ended; what it evaluated is kept until room is short."""
        self.running.remove(sequence)
        self.publish(sequence)
        self._retire(sequence.seq)
        sequence.seq = -1

    def preempt(self, sequence: Sequence) -> None:
        """It must begin again, its cells are needed."""
        self.running.remove(sequence)
        self.cache.drop(sequence.seq)
        self._release(sequence.seq)
        sequence.seq = -1
        sequence.evaluated = 0

    def _retire(self, seq: int) -> None:
        # a sequence that kept doubles to itself is dropped with them: the tree has them from another one
        for dropped in self.cache.retire(seq):
            self._release(dropped)

    def _release(self, seq: int) -> None:
        self._memory.remove(seq)
        self._free_seqs.append(seq)

    def save(self) -> int:
        """Write the hottest leaves to the store, if there is one; how many it kept."""
        if self.store is None:
            return 0
        leaves = [(self.cache.tokens(seq), partial(self._memory.save, seq)) for seq in self.cache.idle()[::-1]]
        kept = self.store.write(leaves)
        log.info("kept the KV state of %d sequences", kept)
        return kept
