"""KV state of finished requests in memory, out of the cells: a tree of blocks, the least recently used forgotten first.

A block is the state of a run of tokens behind all those of its parents, so conversations with one beginning keep it
once. Runs are cut at multiples of `block_tokens`: what is saved or brought back at a time is bounded, and of a
conversation that goes on only its last block is saved again.

Pure: it moves no state and knows no cells. `parking.py` fills it and brings back what it has.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from threadrunner.engine.kv.buffers import Buffer
from threadrunner.engine.kv.prefix_cache import common_length


class Block:
    """The state of tokens at positions [begin, end)."""

    __slots__ = ("begin", "children", "parent", "state", "tokens")

    def __init__(self, begin: int, tokens: list[int], state: Buffer | None, parent: Block | None) -> None:
        self.begin = begin
        self.tokens = tokens
        self.state = state
        self.parent = parent
        self.children: list[Block] = []

    @property
    def end(self) -> int:
        return self.begin + len(self.tokens)


class RamTier:
    """The tree, bounded in bytes. Buffers of forgotten blocks go to `release`."""

    def __init__(self, max_bytes: int, block_tokens: int, release: Callable[[Buffer], None]) -> None:
        self.max_bytes = max_bytes
        self.block_tokens = block_tokens
        self._release = release
        self._root = Block(0, [], None, None)
        self._order: OrderedDict[Block, None] = OrderedDict()
        """The least recently used first, and each block after all its children: so the first one has none."""
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<RamTier {len(self._order)} blocks, {self.bytes >> 20} MiB>"

    @property
    def tokens(self) -> int:
        """Whose state is kept."""
        return sum(len(block.tokens) for block in self._order)

    # questions

    def match(self, tokens: Sequence[int]) -> tuple[int, list[Block]]:
        """The longest known prefix of `tokens`, and the blocks that have it; of the last one maybe a part only."""
        path: list[Block] = []
        node, depth = self._root, 0
        while depth < len(tokens):
            pairs = ((common_length(c.tokens, tokens[depth : depth + len(c.tokens)]), c) for c in node.children)
            common, child = max(pairs, key=lambda pair: pair[0], default=(0, node))
            if not common:
                break
            path.append(child)
            node, depth = child, depth + common
            if common < len(child.tokens) or len(child.tokens) < self.block_tokens:
                break
        return depth, path

    def missing(self, tokens: Sequence[int]) -> tuple[int, int] | None:
        """The first part of `tokens`, [begin, end), whose block is not here; None when all of it is."""
        depth, _ = self.match(tokens)
        if depth == len(tokens):
            return None
        begin = depth // self.block_tokens * self.block_tokens
        return begin, min(begin + self.block_tokens, len(tokens))

    def leaves(self) -> Iterator[tuple[list[int], list[Block]]]:
        """Each conversation's tokens and blocks, the most recently used first."""
        for block in reversed(self._order):
            if not block.children:
                path = self._path(block)
                yield [token for b in path for token in b.tokens], path

    def _path(self, block: Block) -> list[Block]:
        path = []
        node: Block | None = block
        while node is not None and node is not self._root:
            path.append(node)
            node = node.parent
        return path[::-1]

    def still(self, path: Sequence[Block]) -> list[Block]:
        """Those of these blocks, from the root on, that were not forgotten since they were found."""
        return [block for block in path if block in self._order]

    # changes

    def touch(self, path: Sequence[Block]) -> None:
        """These blocks, from the root on, are used now."""
        for block in reversed(path):
            self._order.move_to_end(block)

    def fits(self, tokens: Sequence[int], begin: int, size: int) -> bool:
        """Whether `add` would take a block of so many bytes; its own parents are not forgotten for it."""
        _, path = self.match(tokens[:begin])
        return size + sum(b.state.capacity for b in path if b.state) <= self.max_bytes

    def add(self, tokens: Sequence[int], begin: int, end: int, state: Buffer) -> bool:
        """The state of tokens[begin:end], with `begin` from `missing`. False, and the buffer released, when it does not
        fit beside the blocks before it; others are forgotten for it."""
        depth, path = self.match(tokens[:begin])
        if depth != begin or not self.fits(tokens, begin, state.capacity):
            self._release(state)
            return False
        self.touch(path)
        parent = path[-1] if path else self._root
        run = list(tokens[begin:end])
        for other in [c for c in parent.children if c.tokens == run[: len(c.tokens)]]:
            self._drop(other)  # what it had is a part of the new block; it was no full one, so it has no children
        block = Block(begin, run, state, parent)
        parent.children.append(block)
        self._order[block] = None
        self.bytes += state.capacity
        self.touch([*path, block])
        self.shrink(self.max_bytes)
        return True

    def shrink(self, max_bytes: int) -> None:
        """Forget blocks until so few bytes are left."""
        while self.bytes > max_bytes:
            self._drop(next(iter(self._order)))

    def drop(self, path: Sequence[Block]) -> None:
        """Forget the last of these blocks and what comes after it: its state was refused."""
        waiting = list(path[-1:])
        family: list[Block] = []
        while waiting:
            block = waiting.pop()
            family.append(block)
            waiting += block.children
        for block in reversed(family):
            self._drop(block)

    def _drop(self, block: Block) -> None:
        assert not block.children
        del self._order[block]
        if block.parent is not None:
            block.parent.children.remove(block)
        if block.state is not None:
            self.bytes -= block.state.capacity
            self._release(block.state)
