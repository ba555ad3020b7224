"""KV state leaves the cells and comes back: which, when, and from where.

Attention on a CPU looks at every cell up to the highest used one, masked or not, so what is kept of finished requests
costs each token of those that run: SmolLM2 on 2 cores 7.9 ms a token alone, 11.9 ms with 12,000 cells of others, 0.33
us a cell. Out of the cells it costs nothing, and is back in 2.6 us a token. To copy it out takes 1.8 us a token into
memory that was used before, 20 us into new memory; idle time takes that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from threadrunner.engine.buffers import Buffer, Buffers
from threadrunner.engine.kv_store import MIN_TOKENS, KvStore, StatePiece
from threadrunner.engine.ram_tier import Block, RamTier

log = logging.getLogger("threadrunner.engine")

WORTH_A_RETURN = 8
"""Steps of others after which state that is saved already should have left: to bring it back costs as much as they lose
by it. Who decides so without knowing the future loses at most twice what was to lose (rent or buy)."""
WORTH_A_SAVE = 32
"""The same for state that must be saved first, while others wait for their next token."""
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


class Found(NamedTuple):
    """State of more tokens than the cells have."""

    length: int
    """Tokens, from the first on."""
    blocks: list[Block]
    """In memory; empty: on disk."""
    room: int
    """Cells that must be free: a block comes whole before it is cut."""


class Parking:
    """What is kept outside of the cells: in memory, and below that on disk. Cells calls it."""

    def __init__(self, memory: StateMemory, store: KvStore | None, *, max_bytes: int, block_tokens: int) -> None:
        """`max_bytes` of memory, 0 for none; blocks of `block_tokens`."""
        self.store = store
        self._memory = memory
        self._buffers = Buffers(min(SPARE_BYTES, max_bytes // 8))
        self.tier = RamTier(max_bytes, block_tokens, self._buffers.give)

    @property
    def keeps(self) -> bool:
        """Whether anything can be parked in memory."""
        return self.tier.max_bytes > 0

    @property
    def bytes(self) -> int:
        """Of memory taken, unused buffers included."""
        return self.tier.bytes + self._buffers.free_bytes

    # out of the cells

    def save_next(self, seq: int, tokens: Sequence[int]) -> bool:
        """Save one block of a sequence that has all these tokens. False when none is missing, or it does not fit."""
        if not self.keeps or (span := self.tier.missing(tokens)) is None:
            return False
        size = self._memory.state_size(seq, *span)
        if not self.tier.fits(tokens, span[0], size):
            return False
        state = self._copy(seq, *span, size)
        return state is not None and self.tier.add(tokens, *span, state)

    def is_saved(self, tokens: Sequence[int]) -> bool:
        return self.tier.missing(tokens) is None

    def is_quick(self, seq: int, tokens: Sequence[int]) -> bool:
        """Whether the next block has memory to go to that was touched before."""
        span = self.tier.missing(tokens)
        return span is not None and self._buffers.has(self._memory.state_size(seq, *span))

    def prepare(self) -> bool:
        """Touch some memory ahead of the next save; whether there is more to do."""
        return self._buffers.prepare(self.tier.max_bytes - self.tier.bytes)

    def _copy(self, seq: int, begin: int, end: int, size: int) -> Buffer | None:
        try:
            state = self._buffers.take(size)
        except OSError as error:
            log.warning("no memory for KV state: %s", error)
            return None
        if self._memory.save(seq, begin, end, state.view()):
            return state
        log.warning("llama.cpp did not save the state of %d tokens", end - begin)
        self._buffers.give(state)
        return None

    # back into the cells

    def find(self, tokens: Sequence[int], more_than: int) -> Found | None:
        """State of more of these tokens than `more_than`, the longest there is."""
        length, blocks = self.tier.match(tokens)
        first = more_than // self.tier.block_tokens * self.tier.block_tokens
        stored, entry = self.store.match(tokens) if self.store is not None else (0, None)
        if entry is not None and stored >= max(length, more_than) + MIN_TOKENS:
            end = -(-stored // self.tier.block_tokens) * self.tier.block_tokens
            return Found(stored, [], min(end, len(entry.tokens)) - first)
        if length < more_than + MIN_GAIN:
            return None
        return Found(length, blocks, blocks[-1].end - first)

    def bring_back(self, seq: int, tokens: Sequence[int], begin: int, found: Found) -> int:
        """Give the sequence, which has tokens[:begin], those that were found; how many it has now."""
        if not found.blocks:
            return self._from_disk(seq, tokens, begin, found.length)
        self.tier.touch(found.blocks)
        at = begin
        for depth, block in enumerate(found.blocks, 1):
            end = min(block.end, found.length)
            if end <= at or block.state is None:
                continue
            if not self._memory.restore(seq, block.state.view(), at, end):
                log.warning("llama.cpp refused the state of %d tokens in memory", end - at)
                self.tier.drop(found.blocks[:depth])
                return at
            at = end
        return at

    def _from_disk(self, seq: int, tokens: Sequence[int], begin: int, length: int) -> int:
        assert self.store is not None
        _, entry = self.store.match(tokens)
        pieces = self.store.take(entry, self._buffers.take) if entry is not None else None
        if entry is None or pieces is None:
            return begin
        at = begin
        for piece in pieces:
            end = min(piece.end, length)
            if end > at:
                if not self._memory.restore(seq, piece.state.view(), at, end):
                    log.warning("llama.cpp refused the state in %s", entry.path.name)
                    return begin
                at = end
        for piece in pieces:
            if self.tier.missing(entry.tokens[: piece.end]) == (piece.begin, piece.end):
                self.tier.add(entry.tokens, piece.begin, piece.end, piece.state)
        return at

    # to disk

    def write(self, leaves: Sequence[tuple[int, list[int]]]) -> int:
        """Write these sequences with their tokens, the first ones first, then what else is in memory; how many were
        kept."""
        if self.store is None:
            return 0
        wanted = [(tokens, self._pieces(seq, tokens)) for seq, tokens in leaves]
        for tokens, blocks in list(self.tier.leaves()):
            if not any(tokens == known[: len(tokens)] for _, known in leaves):
                wanted.append((tokens, (StatePiece(b.begin, b.end, b.state) for b in blocks if b.state)))
        kept = self.store.write(wanted)
        log.info("kept the KV state of %d sequences", kept)
        return kept

    def _pieces(self, seq: int, tokens: list[int]) -> Iterator[StatePiece]:
        """Those in memory as they are, the rest from the cells, one at a time."""
        _, blocks = self.tier.match(tokens)
        by_span = {(b.begin, b.end): b.state for b in blocks}
        for begin in range(0, len(tokens), self.tier.block_tokens):
            end = min(begin + self.tier.block_tokens, len(tokens))
            state = by_span.get((begin, end))
            copied = None if state else self._copy(seq, begin, end, self._memory.state_size(seq, begin, end))
            if state is None and copied is None:
                return
            yield StatePiece(begin, end, state or copied)  # type: ignore[arg-type]
            if copied is not None:
                self._buffers.give(copied)
