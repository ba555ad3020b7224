"""KV state leaves the cells and comes back: which, when, and from where.

Attention on a CPU looks at every cell up to the highest used one, masked or not, so what is kept of finished requests
costs each token of those that run: SmolLM2 on 2 cores 7.9 ms a token alone, 11.9 ms with 12,000 cells of others, 0.33
us a cell. Out of the cells it costs nothing, and is back in 2.6 us a token. To copy it out takes 1.8 us a token into
memory that was used before, 20 us into new memory; idle time takes that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

from threadrunner.engine.kv.buffers import Buffer, Buffers
from threadrunner.engine.kv.kv_store import MIN_TOKENS, KvStore, StatePiece
from threadrunner.engine.kv.points import Points
from threadrunner.engine.kv.ram_tier import Block, RamTier
from threadrunner.engine.pictures import PLAIN, Positions, whole

log = logging.getLogger("threadrunner.engine")

MIN_GAIN = 4
"""Tokens; fewer are evaluated as soon as they are brought back."""
SPARE_BYTES = 32 << 20
"""Of memory touched ahead, at most."""


class StateMemory(Protocol):
    """Cells whose state can be copied out and in (llama.Context is one)."""

    def state_size(self, seq: int, begin: int, end: int) -> int:
        """Bytes that `save` needs."""

    def save(self, seq: int, begin: int, end: int, into: memoryview) -> bool:
        """Copy the state of a sequence's cells at [begin, end); False when that failed."""

    def restore(self, seq: int, state: memoryview, begin: int, end: int) -> bool:
        """Give the sequence cells at [begin, end) as a saved state has them, which may have more. False when the state
        is refused."""

    def point_size(self, seq: int) -> int:
        """Bytes that `save_point` needs."""

    def save_point(self, seq: int, into: memoryview) -> bool:
        """Copy what cannot be cut of a sequence's state, as it is at its end; False when that failed."""

    def restore_point(self, seq: int, state: memoryview) -> bool:
        """Put it in the place of what the sequence has; False when the state is refused."""


class Found(NamedTuple):
    """State of more tokens than the cells have."""

    length: int
    """Tokens, from the first on."""
    blocks: list[Block]
    """In memory. Empty: on disk, or all of their cells are there."""
    room: int
    """Cells that must be free: a block comes whole before it is cut."""
    point: Buffer | None = None
    """What cannot be cut, where the model has that."""


class Parking:
    """What is kept outside of the cells: in memory, and below that on disk. Cells calls it."""

    def __init__(
        self,
        memory: StateMemory,
        store: KvStore | None,
        *,
        max_bytes: int,
        block_tokens: int,
        points: bool = False,
        positions: Positions = PLAIN,
    ) -> None:
        """`max_bytes` of memory, 0 for none; blocks of `block_tokens`. `points`: a part of the state cannot be cut, so
        that a sequence can only be brought back to where that was saved; half of the bytes are for it."""
        self.store = store
        self.positions = positions
        """Of cells, by the tokens in them."""
        self._memory = memory
        self._buffers = Buffers(min(SPARE_BYTES, max_bytes // 8))
        for_points = max_bytes // 2 if points else 0
        self.tier = RamTier(max_bytes - for_points, block_tokens, self._buffers.give)
        self.points = Points(for_points, self._buffers.give) if points else None

    @property
    def keeps(self) -> bool:
        """Whether anything can be parked in memory."""
        return self.tier.max_bytes > 0

    @property
    def bytes(self) -> int:
        """Of memory taken, unused buffers included."""
        return self.tier.bytes + (self.points.bytes if self.points else 0) + self._buffers.free_bytes

    def forget(self) -> None:
        """All that is in memory."""
        self.tier.shrink(0)
        if self.points is not None:
            self.points.shrink(0)

    # out of the cells

    def save_next(self, seq: int, tokens: Sequence[int]) -> bool:
        """Save one block of a sequence that has all these tokens and no more, its point last. False when none is
        missing, or it does not fit."""
        if not self.keeps:
            return False
        if (span := self.tier.missing(tokens)) is None:
            return self.points is not None and not self.points.has(tokens) and self.save_point(seq, tokens)
        size = self._state_size(seq, tokens, span)
        if not self.tier.fits(tokens, span[0], size):
            return False
        state = self._copy(seq, tokens, span, size)
        return state is not None and self.tier.add(tokens, *span, state)

    def save_point(self, seq: int, tokens: Sequence[int]) -> bool:
        """The sequence has evaluated these tokens: save what cannot be cut. Only where `points` is set."""
        assert self.points is not None
        state = self._taken(self._memory.point_size(seq))
        if state is None:
            return False
        if self._memory.save_point(seq, state.view()):
            return self.points.add(tokens, state)
        log.warning("llama.cpp did not save the state after %d tokens", len(tokens))
        self._buffers.give(state)
        return False

    def is_saved(self, tokens: Sequence[int]) -> bool:
        return self.tier.missing(tokens) is None and (self.points is None or self.points.has(tokens))

    def is_quick(self, seq: int, tokens: Sequence[int]) -> bool:
        """Whether the next block has memory to go to that was touched before."""
        span = self.tier.missing(tokens)
        return span is not None and self._buffers.has(self._state_size(seq, tokens, span))

    def prepare(self) -> bool:
        """Touch some memory ahead of the next save; whether there is more to do."""
        return self._buffers.prepare(self.tier.max_bytes - self.tier.bytes)

    def _state_size(self, seq: int, tokens: Sequence[int], span: tuple[int, int]) -> int:
        begin, end = self.positions.of(tokens, *span)
        return self._memory.state_size(seq, begin, end)

    def _copy(self, seq: int, tokens: Sequence[int], span: tuple[int, int], size: int) -> Buffer | None:
        begin, end = self.positions.of(tokens, *span)
        state = self._taken(size)
        if state is None or self._memory.save(seq, begin, end, state.view()):
            return state
        log.warning("llama.cpp did not save the state of %d tokens", span[1] - span[0])
        self._buffers.give(state)
        return None

    def _taken(self, size: int) -> Buffer | None:
        try:
            return self._buffers.take(size)
        except OSError as error:
            log.warning("no memory for KV state: %s", error)
            return None

    # back into the cells

    def find(self, tokens: Sequence[int], rows: int, more_than: int) -> Found | None:
        """State of more of these tokens than `more_than`, the longest there is; the cells have those of `rows`, though
        maybe not what cannot be cut."""
        if self.points is not None:
            return self._find_point(tokens, rows, more_than)
        length, blocks = self.tier.match(tokens)
        if (at := whole(tokens, length)) < length:
            length, blocks = at, [block for block in blocks if block.begin < at]
        first = whole(tokens, self._block_begin(rows))  # a block has all of a picture that ends in it
        stored, entry = self.store.match(tokens) if self.store is not None else (0, None)
        stored = whole(tokens, stored)
        if entry is not None and stored >= max(length, more_than) + MIN_TOKENS:
            return Found(
                stored, [], min(self._block_begin(stored - 1 + self.tier.block_tokens), len(entry.tokens)) - first
            )
        if length < more_than + MIN_GAIN:
            return None
        self.tier.touch(blocks)  # or room would be made for them by forgetting them
        return Found(length, blocks, blocks[-1].end - first)

    def _find_point(self, tokens: Sequence[int], rows: int, more_than: int) -> Found | None:
        assert self.points is not None
        stored = self.store.match(tokens)[0] if self.store is not None else 0
        known = max(rows, self.tier.match(tokens)[0])
        if stored >= known + MIN_TOKENS and self.keeps:
            self._read(tokens)
        length, blocks = self.tier.match(tokens)
        at, point = self.points.best(tokens, max(rows, length))
        if point is None or at < more_than + MIN_GAIN or whole(tokens, at) < at:
            return None
        if at <= rows:
            return Found(at, [], 0, point)
        blocks = [block for block in blocks if block.begin < at]
        self.tier.touch(blocks)
        return Found(at, blocks, blocks[-1].end - self._block_begin(rows), point)

    def _block_begin(self, position: int) -> int:
        return position // self.tier.block_tokens * self.tier.block_tokens

    def bring_back(self, seq: int, tokens: Sequence[int], begin: int, found: Found) -> int:
        """Give the sequence, which has tokens[:begin], those that were found, less what was forgotten since: what left
        the cells to make room for them is kept in the same memory. How many it has now. Where it has a point and that
        is gone or refused, or a block before it, what the sequence has is of no use."""
        if found.point is None and not found.blocks:
            return self._from_disk(seq, tokens, begin, found.length)
        blocks = self.tier.still(found.blocks)
        if found.point is not None and not self._has_all(tokens, found, blocks):
            return 0
        at = begin
        for depth, block in enumerate(blocks, 1):
            end = min(block.end, found.length)
            if end <= at or block.state is None:
                continue
            if not self._restore(seq, tokens, block.state, at, end):
                log.warning("llama.cpp refused the state of %d tokens in memory", end - at)
                self.tier.drop(blocks[:depth])
                return at
            at = end
        if found.point is not None and not self._memory.restore_point(seq, found.point.view()):
            log.warning("llama.cpp refused the state after %d tokens", found.length)
            assert self.points is not None
            self.points.drop(tokens[: found.length])
            return 0  # not `begin`, which is all of them where only the point was missing
        return at

    def _restore(self, seq: int, tokens: Sequence[int], state: Buffer, begin: int, end: int) -> bool:
        begin, end = self.positions.of(tokens, begin, end)
        return self._memory.restore(seq, state.view(), begin, end)

    def _has_all(self, tokens: Sequence[int], found: Found, blocks: list[Block]) -> bool:
        """Whether what was found is still here, its point among it."""
        assert self.points is not None and found.point is not None
        return blocks == found.blocks and self.points.keeps(tokens[: found.length], found.point)

    def _from_disk(self, seq: int, tokens: Sequence[int], begin: int, length: int) -> int:
        """As bring_back; what was read is in memory then, as far as it fits."""
        pieces = self._read(tokens)
        at = begin
        for piece in pieces:
            end = min(piece.end, length)
            if end > at:
                if not self._restore(seq, tokens, piece.state, at, end):
                    log.warning("llama.cpp refused the state of %d tokens from disk", end - at)
                    self.tier.drop(self.tier.match(tokens[:end])[1])
                    return at
                at = end
        return at

    def _read(self, tokens: Sequence[int]) -> list[StatePiece]:
        """The file that has most of these tokens, into memory; its pieces, also those that do not fit there, until the
        next buffer is taken."""
        assert self.store is not None
        _, entry = self.store.match(tokens)
        pieces = self.store.take(entry, self._buffers.take) if entry is not None else None
        if entry is None or pieces is None:
            return []
        for piece in pieces:
            if piece.begin == piece.end:
                if self.points is not None:
                    self.points.add(entry.tokens[: piece.end], piece.state)
            elif self.tier.missing(entry.tokens[: piece.end]) == (piece.begin, piece.end):
                self.tier.add(entry.tokens, piece.begin, piece.end, piece.state)
            else:
                self._buffers.give(piece.state)
        return pieces

    # to disk

    def write(self, leaves: Sequence[tuple[int, list[int]]]) -> int:
        """Write these sequences with their tokens, the first ones first, then what else is in memory; how many were
        kept."""
        if self.store is None:
            return 0
        wanted = [(tokens, self._pieces(seq, tokens)) for seq, tokens in leaves]
        for tokens, blocks in list(self.tier.leaves()):
            if not any(tokens == known[: len(tokens)] for _, known in leaves):
                rows = (StatePiece(b.begin, b.end, b.state) for b in blocks if b.state)
                wanted.append((tokens, chain(rows, self._points_of(tokens))))
        kept = self.store.write(wanted)
        log.info("kept the KV state of %d sequences", kept)
        return kept

    def _pieces(self, seq: int, tokens: list[int]) -> Iterator[StatePiece]:
        """Those in memory as they are, the rest from the cells, one at a time."""
        length, blocks = self.tier.match(tokens)
        by_span = {(b.begin, b.end): b.state for b in blocks if b.end <= length}  # the last one may be another's
        for begin in range(0, len(tokens), self.tier.block_tokens):
            end = min(begin + self.tier.block_tokens, len(tokens))
            if saved := by_span.get((begin, end)):
                yield StatePiece(begin, end, saved)
            elif copied := self._copy(seq, tokens, (begin, end), self._state_size(seq, tokens, (begin, end))):
                yield StatePiece(begin, end, copied)
                self._buffers.give(copied)
            else:
                return
        if self.points is not None and not self.points.has(tokens):
            self.save_point(seq, tokens)
        yield from self._points_of(tokens)

    def _points_of(self, tokens: list[int]) -> Iterator[StatePiece]:
        for length, state in self.points.within(tokens) if self.points else ():
            yield StatePiece(length, length, state)
