"""Which tokens are in the KV cache, as a tree: a node is a run of cells, a path from the root is what a sequence sees.

Rule: `cells` is what llama.cpp has in use, exactly. A run is in the tree once, however many sequences hold it; when a
sequence evaluated what the tree already has, `extend` says which ranges to share so that the double is given back.

Pure: it moves no cells. Its answers name what the caller must do to llama.cpp's sequences.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from threadrunner.engine.pictures import whole


class Share(NamedTuple):
    """Positions [begin, end) of the extending sequence are doubles: remove them from it, then share `source`'s."""

    source: int
    begin: int
    end: int


class Node:
    """A run of tokens, and the sequences that see it."""

    __slots__ = ("children", "holders", "parent", "tokens")

    def __init__(self, tokens: list[int], parent: Node | None, holders: set[int]) -> None:
        self.tokens = tokens
        self.parent = parent
        self.children: dict[int, Node] = {}
        self.holders = holders


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading items are equal. Halves by slices: comparing lists in C beats a loop by far."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


class PrefixCache:
    """The tree, and which of the sequences that hold its paths are idle: kept, but not running.

    Cells calls it: `match`, then `fork` for a sequence that begins; `extend` with what it has evaluated; `retire` or
    `drop` at its end. After `extend`, `retire` and `drop` the caller must do to llama.cpp's cells what they answer.
    """

    def __init__(self) -> None:
        self._root = Node([], None, set())
        self._ends: dict[int, Node] = {}
        self._lengths: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self.cells = 0

    def __repr__(self) -> str:
        lengths = ", ".join(f"{s}{'~' if s in self._idle else ''}:{n}" for s, n in sorted(self._lengths.items()))
        return f"<PrefixCache {self.cells} cells, {lengths or 'empty'}>"

    # questions

    def match(self, tokens: Sequence[int]) -> tuple[int, list[int]]:
        """The longest known prefix of `tokens`, none that ends within a picture, and the sequences that hold it, most
        recently used one last."""
        node, depth = self._root, 0
        while depth < len(tokens) and (child := node.children.get(tokens[depth])) is not None:
            common = common_length(child.tokens, tokens[depth : depth + len(child.tokens)])
            node, depth = child, depth + common
            if common < len(child.tokens):
                break
        rank = {seq: i for i, seq in enumerate(self._idle)}
        return whole(tokens, depth), sorted(node.holders, key=lambda seq: rank.get(seq, len(rank)))

    def length(self, seq: int) -> int:
        """Tokens of the tree that `seq` holds; 0 for an unknown one."""
        return self._lengths.get(seq, 0)

    def tokens(self, seq: int) -> list[int]:
        """What `seq` holds of the tree."""
        runs = [node.tokens for node in self._path(self._ends[seq])]
        return [token for run in reversed(runs) for token in run]

    def idle(self) -> list[int]:
        """Sequences that do not run, the least recently used first."""
        return list(self._idle)

    def own_cells(self, seq: int) -> int:
        """Cells that come free when `seq` is dropped."""
        return sum(len(node.tokens) for node in self._path(self._ends[seq]) if len(node.holders) == 1)

    # changes

    def fork(self, seq: int, tokens: Sequence[int], length: int) -> None:
        """`seq` now holds tokens[:length], which the tree has."""
        node, depth = self._root, 0
        while depth < length:
            child = node.children[tokens[depth]]
            take = min(len(child.tokens), length - depth)
            if take < len(child.tokens):
                self._split(child, take)
            child.holders.add(seq)
            node, depth = child, depth + take
            for holder in child.holders:
                if holder in self._idle:
                    self._idle.move_to_end(holder)
        self._ends[seq] = node
        self._lengths[seq] = length

    def extend(
        self, seq: int, tokens: Sequence[int], may_share: Callable[[int, int], bool] = lambda _source, _begin: True
    ) -> list[Share]:
        """`seq`, which held a prefix of `tokens`, has evaluated all of them.

        Returns the doubles to give back, in order. Where the tree has them already and `may_share(source, begin)` is
        true of no holder, `seq` keeps its doubles to itself: length(seq) tells how far it holds the tree's.
        """
        node, depth = self._ends[seq], self._lengths[seq]
        shares: list[Share] = []
        while depth < len(tokens):
            child = node.children.get(tokens[depth])
            if child is None:
                break
            source = next((holder for holder in child.holders if may_share(holder, depth)), None)
            if source is None:
                self._ends[seq] = node
                self._lengths[seq] = depth
                return shares
            common = common_length(child.tokens, tokens[depth : depth + len(child.tokens)])
            if common < len(child.tokens):
                self._split(child, common)
            shares.append(Share(source, depth, depth + common))
            child.holders.add(seq)
            node, depth = child, depth + common
        rest = list(tokens[depth:])
        if rest:
            self.cells += len(rest)
            if node is not self._root and not node.children and node.holders == {seq}:
                node.tokens = node.tokens + rest
            else:
                child = Node(rest, node, {seq})
                node.children[rest[0]] = child
                node = child
        self._ends[seq] = node
        self._lengths[seq] = len(tokens)
        return shares

    def retire(self, seq: int) -> list[int]:
        """`seq` has ended and stays as a leaf. Returns the sequences that were dropped for it: those whose tokens
        another one holds as well, `seq` itself among them."""
        end = self._ends[seq]
        if end is self._root or len(end.holders) > 1:
            for other in end.holders:
                if other in self._idle:
                    self._idle.move_to_end(other)
            self.drop(seq)
            return [seq]
        path = set(map(id, self._path(end)))
        shorter = [s for s in self._idle if id(self._ends[s]) in path]
        for other in shorter:
            self.drop(other)
        self._idle[seq] = None
        return shorter

    def drop(self, seq: int) -> int:
        """`seq` holds nothing any more; how many cells that frees."""
        freed = 0
        node: Node | None = self._ends.pop(seq)
        del self._lengths[seq]
        self._idle.pop(seq, None)
        while node is not None and node is not self._root:
            parent = node.parent
            node.holders.discard(seq)
            if not node.holders and parent is not None:
                del parent.children[node.tokens[0]]
                freed += len(node.tokens)
            node = parent
        self.cells -= freed
        return freed

    # the tree

    def _path(self, node: Node | None) -> Iterator[Node]:
        while node is not None and node is not self._root:
            yield node
            node = node.parent

    def _split(self, node: Node, at: int) -> None:
        """`node` keeps its first `at` tokens; the rest becomes its child, held by the same sequences."""
        rest = Node(node.tokens[at:], node, set(node.holders))
        rest.children = node.children
        for child in rest.children.values():
            child.parent = rest
        node.tokens = node.tokens[:at]
        node.children = {rest.tokens[0]: rest}
        for seq in list(node.holders):
            if self._ends.get(seq) is node:
                self._ends[seq] = rest
