"""The tree of parked state: what it has is what was put in, its bytes are bounded, and the oldest goes first."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from threadrunner.engine.kv.buffers import PAGE, Buffer, Buffers, rounded
from threadrunner.engine.kv.ram_tier import RamTier

BLOCK = 4


class Filled:
    """A tier that is filled as Parking fills it; a block's state says which tokens it is of."""

    def __init__(self, pages: int = 1 << 20) -> None:
        self.buffers = Buffers(max_free=4 * PAGE)
        self.given = 0
        self.tier = RamTier(pages * PAGE, BLOCK, self._given_back)

    def _given_back(self, buffer: Buffer) -> None:
        self.given += buffer.capacity
        self.buffers.give(buffer)

    def park(self, tokens: list[int]) -> bool:
        """All that is missing; False when a block did not fit."""
        while (span := self.tier.missing(tokens)) is not None:
            begin, end = span
            data = bytes(tokens[begin:end])
            buffer = self.buffers.take(len(data))
            buffer.view()[:] = data
            if not self.tier.fits(tokens, begin, buffer.capacity):
                self.buffers.give(buffer)
                return False
            assert self.tier.add(tokens, begin, end, buffer)
        return True

    def read(self, tokens: list[int]) -> list[int]:
        """The longest known beginning, out of the states."""
        length, blocks = self.tier.match(tokens)
        data = b"".join(bytes(b.state.view()) for b in blocks if b.state)
        return [*data[:length]]

    def check(self) -> None:
        blocks = {id(b): b for _, path in self.tier.leaves() for b in path}.values()
        assert sum(b.state.capacity for b in blocks if b.state) == self.tier.bytes <= self.tier.max_bytes
        for tokens, path in self.tier.leaves():
            assert self.read(tokens) == tokens
            assert all(b.begin % BLOCK == 0 and len(b.tokens) == BLOCK for b in path[:-1])


def test_what_was_parked_is_found() -> None:
    filled = Filled()
    assert filled.park([1, 2, 3, 4, 5, 6])
    assert filled.read([1, 2, 3, 4, 5, 6, 7]) == [1, 2, 3, 4, 5, 6]
    assert filled.read([1, 2, 3, 9]) == [1, 2, 3]
    assert filled.read([9]) == []


def test_a_beginning_that_two_share_is_there_once() -> None:
    filled = Filled()
    filled.park([1, 2, 3, 4, 5])
    filled.park([1, 2, 3, 4, 6])
    assert filled.tier.tokens == 6
    filled.check()


def test_a_conversation_that_goes_on_replaces_its_last_block_alone() -> None:
    filled = Filled()
    filled.park([1, 2, 3, 4, 5, 6])
    assert filled.tier.missing([1, 2, 3, 4, 5, 6, 7, 8, 9]) == (4, 8)
    filled.park([1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert filled.tier.tokens == 9
    assert filled.tier.missing([1, 2, 3, 4, 5]) is None
    filled.check()


def test_the_least_recently_used_goes_first_and_its_end_before_its_beginning() -> None:
    filled = Filled(pages=4)
    filled.park([1] * 8)
    filled.park([2] * 8)
    filled.tier.touch(filled.tier.match([1] * 8)[1])
    filled.park([3] * 4)
    assert [len(filled.read([i] * 8)) for i in (1, 2, 3)] == [8, 4, 4]
    filled.check()


def test_what_does_not_fit_leaves_the_rest_where_it_is() -> None:
    filled = Filled(pages=2)
    assert not filled.park([1] * 12)
    assert len(filled.read([1] * 12)) == 8


def test_what_is_refused_goes_with_all_that_follows_it() -> None:
    filled = Filled()
    filled.park([1] * 12)
    filled.park([1] * 8 + [2])
    filled.tier.drop(filled.tier.match([1] * 8)[1])
    assert filled.read([1] * 12) == [1] * 4
    filled.check()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_random_lives(seed: int, pages: int) -> None:
    rng = random.Random(seed)
    filled = Filled(pages)
    for _ in range(40):
        tokens = [rng.randrange(2) for _ in range(rng.randrange(1, 14))]
        if rng.random() < 0.7:
            parked = filled.park(tokens)
            assert parked == (-(-len(tokens) // BLOCK) <= pages)
            if parked:
                assert filled.read(tokens) == tokens
        else:
            filled.tier.touch(filled.tier.match(tokens)[1])
        filled.check()
    filled.tier.shrink(0)
    assert filled.tier.bytes == 0 == filled.tier.tokens


# memory


@given(st.integers(0, 1 << 34))
def test_a_capacity_holds_it_and_wastes_little(size: int) -> None:
    assert size <= rounded(size) <= max(PAGE, size + size // 8 + PAGE)
    assert rounded(rounded(size)) == rounded(size)
    assert rounded(size) % PAGE == 0


def test_memory_that_is_free_is_used_again_and_is_bounded() -> None:
    buffers = Buffers(max_free=2 * PAGE)
    taken = [buffers.take(100) for _ in range(3)]
    for buffer in taken:
        buffers.give(buffer)
    assert buffers.free_bytes == 2 * PAGE
    assert buffers.take(PAGE).memory in [buffer.memory for buffer in taken]
    assert buffers.free_bytes == PAGE


def test_memory_is_touched_ahead_a_piece_at_a_time_and_within_its_room() -> None:
    size = 5 << 19
    buffers = Buffers(max_free=2 * size)
    assert not buffers.prepare(room=1 << 40), "it is not known yet how much is taken at a time"
    taken = buffers.take(size)
    pieces = 0
    while buffers.prepare(room=size):
        pieces += 1
    assert pieces == 3
    assert buffers.has(size)
    assert buffers.free_bytes == taken.capacity
