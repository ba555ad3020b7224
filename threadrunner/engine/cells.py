"""The KV cache's cells and sequence ids: who has which, what is kept of those who left, who goes when room is short.

The count here must be llama.cpp's own at every moment (tests compare them over thousands of lives): a cell that is
forgotten is lost for good, one counted twice makes a request wait for ever.
"""

from __future__ import annotations

import logging
from functools import partial

from threadrunner.engine.kv_store import LEAST_TOKENS, KvStore
from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.model import Model
from threadrunner.engine.prefix_cache import PrefixCache
from threadrunner.engine.sequence import Sequence

log = logging.getLogger("threadrunner.engine")


class Cells:
    def __init__(self, model: Model, context: Context, store: KvStore | None) -> None:
        self.cache = PrefixCache()
        self.store = store
        self.running: list[Sequence] = []
        """Those with a sequence id, in the order in which they got it."""
        self._model = model
        self._context = context
        self._free_seqs = list(range(context.n_seq))[::-1]

    # the count

    def used(self) -> int:
        return self.cache.cells + sum(s.evaluated - self.cache.length(s.seq) for s in self.running)

    def free(self) -> int:
        return self._context.n_cells - self.used()

    def _idle(self, keep: int | None = None) -> int:
        # cells that two idle leaves share are not counted: an underestimate, which only makes a request wait
        return sum(self.cache.own_cells(seq) for seq in self.cache.idle() if seq != keep)

    def evict_one(self, keep: int | None = None) -> bool:
        """Forget the leaf that was not used for longest; False when there is none."""
        for seq in self.cache.idle():
            if seq != keep:
                self.cache.drop(seq)
                self._release(seq)
                return True
        return False

    # a sequence comes

    def place(self, sequence: Sequence) -> bool:
        """Give it a sequence id and what is known of its tokens; False when there is no room for the rest."""
        known = sequence.tokens[:-1]  # one token at least is evaluated: its logits count
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
        """Give the sibling all that the sequence has evaluated; False when no sequence id is left."""
        if self._model.recurrent or not (self._free_seqs or self.evict_one()):
            return False
        self._give(sibling, sequence.seq, sequence.evaluated)
        sibling.cached = sequence.evaluated
        return True

    def _give(self, sequence: Sequence, source: int | None, length: int) -> None:
        sequence.seq = self._free_seqs.pop()
        if source is not None:
            self._context.share(source, sequence.seq, 0, length)
        self.cache.fork(sequence.seq, sequence.tokens, length)
        sequence.evaluated = length
        self.running.append(sequence)

    def _whole_source(self, length: int, holders: list[int]) -> int | None:
        """The most recently used holder that still has, in a windowed cache, all that the next token looks at."""
        if not length:
            return None
        window = self._model.n_swa
        if not window:
            return holders[-1]
        needed_from = max(0, length - window)
        return next((s for s in reversed(holders) if self._context.first_position(s) <= needed_from), None)

    def _restore(self, store: KvStore, tokens: list[int], length: int) -> bool:
        """Bring back from disk what has more of these tokens than the cache."""
        stored, entry = store.match(tokens)
        if entry is None or stored < length + LEAST_TOKENS or not self._free_seqs:
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
        if not self._context.restore(seq, state):
            log.warning("llama.cpp refused the state in %s", entry.path.name)
            self.cache.drop(seq)
            self._release(seq)
            return False
        self._extend(seq, entry.tokens)
        self._retire(seq, len(entry.tokens))
        return True

    # it runs

    def publish(self, sequence: Sequence) -> None:
        """What the sequence has evaluated becomes known to others; doubles of what others have are given back."""
        if not self._model.recurrent:
            self._extend(sequence.seq, sequence.tokens[: sequence.evaluated])

    def believe(self, sequence: Sequence) -> None:
        """A batch was aborted or failed: what llama.cpp has of the sequence is what counts."""
        sequence.evaluated = self._context.last_position(sequence.seq) + 1
        if self._model.recurrent:
            # its state cannot go back by a part of a batch
            sequence.evaluated = 0
            self._context.remove(sequence.seq)
        if sequence.evaluated == len(sequence.tokens):
            # its last token is in the cache, but its logits are lost: that token is done again
            sequence.evaluated -= 1
            self._context.remove(sequence.seq, sequence.evaluated)

    def _extend(self, seq: int, tokens: list[int]) -> None:
        for source, begin, end in self.cache.extend(seq, tokens, self._is_whole):
            self._context.remove(seq, begin, end)
            self._context.share(source, seq, begin, end)

    def _is_whole(self, source: int, begin: int) -> bool:
        """A windowed cache overwrites what has left the window; from `begin` on, has `source` lost nothing?"""
        return not self._model.n_swa or self._context.first_position(source) <= begin

    # it goes

    def leave(self, sequence: Sequence) -> None:
        """It has ended; what it evaluated is kept until room is short."""
        self.running.remove(sequence)
        self.publish(sequence)
        self._retire(sequence.seq, sequence.evaluated)
        sequence.seq = -1

    def take_back(self, sequence: Sequence) -> None:
        """It must begin again, its cells are needed."""
        self.running.remove(sequence)
        self.cache.drop(sequence.seq)
        self._release(sequence.seq)
        sequence.seq = -1
        sequence.evaluated = 0

    def _retire(self, seq: int, evaluated: int) -> None:
        held = self.cache.length(seq)
        if held < evaluated:
            # doubles that could not be shared; an idle leaf's cells must all be the tree's
            self._context.remove(seq, held) if held else self._context.remove(seq)
        for dropped in self.cache.retire(seq):
            self._release(dropped)

    def _release(self, seq: int) -> None:
        self._context.remove(seq)
        self._free_seqs.append(seq)

    def keep(self) -> None:
        """Write the hottest leaves to the store, if there is one."""
        if self.store is not None:
            leaves = [(self.cache.tokens(seq), partial(self._context.save, seq)) for seq in self.cache.idle()[::-1]]
            log.info("kept the KV state of %d sequences", self.store.write(leaves))
