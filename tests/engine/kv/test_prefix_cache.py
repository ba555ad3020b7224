"""The tree against cells that are right at a glance."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.kv.memory import FakeMemory
from threadrunner.engine.kv.prefix_cache import PrefixCache, common_length


class Both:
    """The tree and the cells, moved as the engine moves them."""

    def __init__(self) -> None:
        self.tree, self.memory = PrefixCache(), FakeMemory()
        self.live: dict[int, list[int]] = {}
        self._next = 0

    def start(self, prompt: list[int]) -> int:
        length, holders = self.tree.match(prompt)
        seq, self._next = self._next, self._next + 1
        if holders:
            self.memory.share(holders[-1], seq, 0, length)
        self.tree.fork(seq, prompt, length)
        for position in range(length, len(prompt)):
            self.memory.evaluate(seq, position, prompt[position])
        self.live[seq] = list(prompt)
        return seq

    def publish(self, seq: int) -> None:
        for source, begin, end in self.tree.extend(seq, self.live[seq]):
            self.memory.remove(seq, begin, end)
            self.memory.share(source, seq, begin, end)

    def grow(self, seq: int, tokens: list[int]) -> None:
        for token in tokens:
            self.memory.evaluate(seq, len(self.live[seq]), token)
            self.live[seq].append(token)

    def finish(self, seq: int) -> None:
        self.publish(seq)
        del self.live[seq]
        for dropped in self.tree.retire(seq):
            self.memory.remove(dropped)

    def evict(self) -> None:
        if (seq := next(iter(self.tree.idle()), None)) is not None:
            before = self.tree.own_cells(seq)
            assert self.tree.drop(seq) == before
            self.memory.remove(seq)

    def check(self) -> None:
        private = sum(len(tokens) - self.tree.length(seq) for seq, tokens in self.live.items())
        assert self.tree.cells + private == self.memory.used
        for seq, tokens in self.live.items():
            assert self.memory.tokens(seq) == tokens
        for seq in self.tree.idle():
            assert self.memory.tokens(seq) == self.tree.tokens(seq)


def test_a_fork_shares_what_is_there() -> None:
    both = Both()
    both.finish(both.start([1, 2, 3, 4]))
    seq = both.start([1, 2, 9])
    assert both.tree.length(seq) == 2
    both.finish(seq)
    assert both.tree.cells == 5
    assert sorted(map(both.tree.tokens, both.tree.idle())) == [[1, 2, 3, 4], [1, 2, 9]]


def test_doubles_are_given_back() -> None:
    both = Both()
    a, b = both.start([1, 2, 3]), both.start([1, 2, 3])
    both.publish(a)
    both.publish(b)
    both.check()
    assert both.tree.cells == 3


def test_the_shorter_leaf_goes_when_a_longer_one_has_all_of_it() -> None:
    both = Both()
    both.finish(both.start([1, 2]))
    both.finish(both.start([1, 2, 3]))
    assert len(both.tree.idle()) == 1
    both.finish(both.start([1, 2]))
    assert len(both.tree.idle()) == 1
    both.check()


def test_least_recently_used_goes_first() -> None:
    both = Both()
    first = both.start([1, 1])
    both.finish(first)
    second = both.start([2, 2])
    both.finish(second)
    both.finish(both.start([1, 1, 5]))
    assert both.tree.idle()[0] == second


@pytest.mark.parametrize(
    ("a", "b", "length"), [([], [], 0), ([1], [2], 0), ([1, 2, 3], [1, 2], 2), ([1, 2], [1, 3], 1)]
)
def test_common_length(a: list[int], b: list[int], length: int) -> None:
    assert common_length(a, b) == length


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_common_length_is_what_a_loop_finds(a: list[int], b: list[int]) -> None:
    expected = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    assert common_length(a, b) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_random_lives_keep_the_count_exact(seed: int) -> None:
    rng = random.Random(seed)
    both = Both()
    for _ in range(60):
        what = rng.random()
        if what < 0.4 or not both.live:
            both.start([rng.randrange(3) for _ in range(rng.randrange(1, 8))])
        elif what < 0.6:
            both.grow(rng.choice(list(both.live)), [rng.randrange(3) for _ in range(rng.randrange(4))])
        elif what < 0.7:
            both.publish(rng.choice(list(both.live)))
        elif what < 0.9:
            both.finish(rng.choice(list(both.live)))
        else:
            both.evict()
        both.check()
    for seq in list(both.live):
        both.finish(seq)
    while both.tree.idle():
        both.evict()
    assert both.tree.cells == 0 == both.memory.used
