"""The KV cache's cells and sequence ids: which sequence has which, what is kept of those that ended, what goes first
when room is short.

The count here must be llama.cpp's own at every moment (tests compare them over thousands of lives): a cell that is
forgotten is lost for good, one counted twice makes a request wait for ever.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Protocol

from threadrunner.engine.kv.heights import Heights
from threadrunner.engine.kv.leaving import Leaving
from threadrunner.engine.kv.parking import Found, Parking, StateMemory
from threadrunner.engine.kv.prefix_cache import PrefixCache
from threadrunner.engine.kv.wholeness import Ends, Wholeness
from threadrunner.engine.pictures import whole
from threadrunner.engine.scheduler import Chunk, batch_of
from threadrunner.engine.sequence import Sequence

log = logging.getLogger("threadrunner.engine")

UNKNOWN_LENGTH = 64
"""Tokens that an answer without a limit is expected to have."""
POINT_EVERY = 512
"""Tokens of a prompt between two checkpoints of what cannot be cut."""


class KvMemory(StateMemory, Ends, Protocol):
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
        self.heights = Heights()
        self.running: list[Sequence] = []
        """Those with a sequence id, in the order in which they got it. Changed here only."""
        self.came = 0
        """How many sequences have got an id so far."""
        self.cuttable = not (recurrent or window)
        """Whether a sequence is its cells and nothing else."""
        self._memory = memory
        self._recurrent = recurrent
        self._window = window
        self._wholeness = Wholeness(memory, recurrent=recurrent, window=window)
        self._free_seqs = list(range(memory.n_seq))[::-1]
        self._leaving = Leaving(self.cache, parking, self._forget)

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
        """The leaf that was not used for longest, `keep` excepted, leaves the cells; False when there is none."""
        for seq in self.cache.idle():
            if seq != keep:
                self._leaving.at_once(seq)
                return True
        return False

    def after_batch(self) -> bool:
        """Each batch: kept sequences that slow down those that run may leave. Whether it is Compaction's turn."""
        if self.running:
            self._leaving.after_batch()
        self.heights.wait -= 1
        return self.heights.wait == 0

    def tidy(self) -> bool:
        """In idle time: save a block of what is kept in cells. Whether there is more to do."""
        return self._leaving.in_idle_time()

    def _forget(self, seq: int) -> None:
        self.heights.falls(self.used())
        self.cache.drop(seq)
        self._release(seq)

    # a sequence comes

    def lacking(self, sequence: Sequence) -> int:
        """Cells that a waiting sequence needs beyond all those that can be made free for it, if above 0."""
        length, source = self._known(sequence.known_as(-1))
        return self._lacking(sequence, length, source)

    def _lacking(self, sequence: Sequence, shared: int, keep: int | None) -> int:
        return len(sequence.tokens) - shared + 1 - self.free() - self._idle(keep=keep)

    def place(self, sequence: Sequence) -> bool:
        """Give it a sequence id and what is known of its tokens; False when there is no room for the rest."""
        # one token at least is evaluated, since its logits count; of a prompt that is scored, each one's do
        known = [] if sequence.scoring else sequence.known_as(-1)
        shared, source = self._known(known)
        steps = len(known) - shared + (sequence.request.max_tokens or UNKNOWN_LENGTH)
        self._leaving.before(steps, keep=source)
        found = self._found(known, shared, source)
        if found is not None:
            # behind rows of another, what the window of a state that was saved whole has lost could not be seen
            alone = self._window and found.point is None
            shared, source = (0, None) if alone else self._rows(known[: found.length])
        if self.running and self._lacking(sequence, shared, source) > 0:
            return False
        if not self._free_seqs and not self.evict_one(keep=source):
            if not self.evict_one():
                return False
            shared, source, found = 0, None, None
        while found is not None and found.room > self.free() and self.evict_one(keep=source):
            pass
        self._give(sequence, source, shared)
        self._leaving.before(steps, keep=None)
        if found is not None:
            self._bring_back(sequence, found)
        if sequence.generated == 0:
            sequence.cached = sequence.evaluated
        return True

    def _found(self, tokens: list[int], shared: int, source: int | None) -> Found | None:
        """More of these tokens than can be forked in the cells, if there is room to bring it back."""
        rows, holder = self._rows(tokens)
        found = self.parking.find(tokens, shared if self.parking.points is None else rows, shared)
        keep = source if self.parking.points is None else holder
        if found is None or found.room > self.free() + self._idle(keep=keep):
            return None
        return found

    def _rows(self, tokens: list[int]) -> tuple[int, int | None]:
        """How many of these tokens the cells have, as far as they can be cut, and a sequence to share them with."""
        if self.parking.points is None:
            return self._known(tokens)
        length, holders = self.cache.match(tokens)
        return length, holders[-1] if length else None

    def _known(self, tokens: list[int]) -> tuple[int, int | None]:
        """How many of these tokens the cells have, and a sequence to fork them from."""
        length, holders = self.cache.match(tokens)
        source = self._wholeness.source(length, holders)
        return (0, None) if source is None else (length, source)

    def _bring_back(self, sequence: Sequence, found: Found) -> None:
        begin = sequence.evaluated
        now = self.parking.bring_back(sequence.seq, sequence.known_as(-1), begin, found)
        broken = now < found.length and (self._recurrent or self._window)
        # a state that was saved whole, and is cut, may have lost what the next token looks at: its window had moved on
        lost = self._window and found.point is None and not self._wholeness.goes_on(sequence.seq, now)
        if broken or lost:
            self._memory.remove(sequence.seq)
            self.cache.drop(sequence.seq)
            self.cache.fork(sequence.seq, [], 0)
            now = 0
        elif (cut := whole(sequence.tokens, now)) < now:
            now = cut
            self._memory.remove(sequence.seq, sequence.position(now))
        sequence.evaluated = now
        self._extend(sequence.seq, sequence.known_as(now))

    def fork(self, sequence: Sequence, sibling: Sequence) -> bool:
        """Give the sibling all that the sequence has evaluated and published; False when it must evaluate that itself,
        since no sequence id is left, or the sequence kept doubles to itself: shared, they would be counted twice."""
        if self.cache.length(sequence.seq) < sequence.evaluated:
            return False
        if not (self._free_seqs or self.evict_one()):
            return False
        self._give(sibling, sequence.seq, sequence.evaluated)
        sibling.cached = sequence.evaluated
        return True

    def _give(self, sequence: Sequence, source: int | None, length: int) -> None:
        sequence.seq = self._free_seqs.pop()
        if source is not None:
            self._memory.share(source, sequence.seq, 0, sequence.position(length))
        self.cache.fork(sequence.seq, sequence.known_as(length), length)
        self.heights.came(sequence.seq, source)
        sequence.evaluated = length
        self.running.append(sequence)
        self.came += 1

    # it runs

    def publish(self, sequence: Sequence) -> None:
        """What the sequence has evaluated becomes known to others; doubles of what others have are given back."""
        self._extend(sequence.seq, sequence.known_as(sequence.evaluated))

    def checkpoint(self, sequence: Sequence) -> None:
        """A part of its prompt was evaluated. Where its state cannot be cut: save it before the last token, to which
        the same question asked again returns, and now and then before that, for one that was edited."""
        points, evaluated = self.parking.points, sequence.evaluated
        if points is None or sequence.generated:
            return
        done = sequence.known_as(evaluated)
        if evaluated == len(sequence.tokens) - 1 or evaluated - points.best(done, evaluated)[0] >= POINT_EVERY:
            self.parking.save_point(sequence.seq, done)

    def before_last(self, chunks: list[Chunk[Sequence]]) -> list[Chunk[Sequence]]:
        """The batch with pauses for `checkpoint`: a prompt's last token is evaluated alone."""
        if self.parking.points is None:
            return chunks
        return batch_of(
            (s, size - 1 if not s.generated and 1 < size == s.remaining else size) for s, size, *_ in chunks
        )

    def trim(self, sequence: Sequence) -> None:
        """Give back the cells of a draft that did not come true."""
        if sequence.drafted:
            sequence.drafted = 0
            self._memory.remove(sequence.seq, sequence.position(sequence.evaluated))

    def resync(self, sequence: Sequence) -> None:
        """A batch was aborted or failed: what llama.cpp has of the sequence is what counts. One whose state cannot go
        back by a part of a batch runs no more, and must be placed again."""
        self.trim(sequence)
        if self._recurrent:
            self.running.remove(sequence)
            self._forget(sequence.seq)
            sequence.seq, sequence.evaluated = -1, 0
            return
        sequence.evaluated = sequence.reaching(self._memory.last_position(sequence.seq))
        if sequence.evaluated == len(sequence.tokens):
            # its last token is in the cache, but its logits are lost: that token is done again
            sequence.evaluated -= 1
            self._memory.remove(sequence.seq, sequence.position(sequence.evaluated))

    def rewind(self, sequence: Sequence, evaluated: int) -> None:
        """Forget what a running sequence that was never published has evaluated beyond this many tokens."""
        if evaluated < sequence.evaluated:
            sequence.evaluated = evaluated
            self._memory.remove(sequence.seq, sequence.position(evaluated))

    def _extend(self, seq: int, tokens: list[int]) -> None:
        for source, *places in self.cache.extend(seq, tokens, partial(self._wholeness.may_share, seq)):
            begin, end = self.parking.positions.of(tokens, *places)
            self._memory.remove(seq, begin, end)
            self._memory.share(source, seq, begin, end)

    def _leave_picture(self, sequence: Sequence) -> None:
        """Where the rows of a picture have one position, a part of them is no range of cells: none of it is kept."""
        if (span := sequence.span) is not None and span.positions:
            self.rewind(sequence, span.begin)

    # it goes

    def finish(self, sequence: Sequence) -> None:
        """It has ended; what it evaluated is kept until room is short."""
        self.running.remove(sequence)
        self.trim(sequence)
        self._leave_picture(sequence)
        self.publish(sequence)
        self._retire(sequence.seq)
        sequence.seq = -1

    def preempt(self, sequence: Sequence) -> None:
        """Its cells are needed: it goes on later, from what could be saved of it."""
        self.running.remove(sequence)
        self.publish(sequence)
        if self.parking.keeps and self.cache.length(sequence.seq) == sequence.evaluated:
            self._leaving.at_once(sequence.seq)
        else:
            self._forget(sequence.seq)
        sequence.seq, sequence.evaluated = -1, 0

    def _retire(self, seq: int) -> None:
        # a sequence that kept doubles to itself is dropped with them: the tree has them from another one
        self._leaving.ended(seq)
        for dropped in self.cache.retire(seq):
            self._release(dropped)

    def _release(self, seq: int) -> None:
        self._memory.remove(seq)
        self._leaving.gone(seq)
        self._free_seqs.append(seq)

    def save(self) -> int:
        """Write the hottest sequences to disk, those in cells first; how many were kept."""
        return self.parking.write([(seq, self.cache.tokens(seq)) for seq in self.cache.idle()[::-1]])

    def forget(self) -> None:
        """Nothing of finished requests is known any more."""
        for seq in self.cache.idle():
            self._forget(seq)
        self.parking.forget()
