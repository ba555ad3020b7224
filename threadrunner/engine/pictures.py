"""Pictures among tokens: the places of a picture in a sequence are negative numbers, made of its hash.

So a tree of tokens, in cells, in memory or on disk, tells pictures apart as it does words, and knows nothing of them.
The first number of a picture is marked, which is all that is needed to never begin in the middle of one.

A place is a cell, and mostly its number is llama.cpp's position too. Not so under M-RoPE (Qwen-VL): there all rows of a
part have the position of the first one, beside a line and a column, and the text behind them goes on after as many
positions as the longer side has rows. What these are is the last number of such a part, so that wherever the tokens are
known, the positions are. Pure.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_FIRST = 1 << 30
"""A picture's first number is below -_FIRST, all others are not."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file of a size that was allowed, and what tells it from all others: as this encoder sees it."""

    data: bytes
    digest: bytes

    def __repr__(self) -> str:
        return f"<Picture {self.digest.hex()[:8]}, {len(self.data)} bytes>"


@dataclass(frozen=True, slots=True)
class Span:
    """Places [begin, begin + size) of a prompt are for what the encoder makes of a part of a picture: all of it, or one
    of the pieces that some encoders cut it into."""

    picture: Picture
    part: int
    begin: int
    size: int
    positions: int = 0
    """Under M-RoPE: how much further the position behind it is than its own; 0: each row has a position."""
    columns: int = 0
    """Likewise: rows in a line."""

    @property
    def end(self) -> int:
        return self.begin + self.size


def places(picture: Picture, part: int, size: int, positions: int = 0) -> list[int]:
    """A number of 30 bits for each place, so that a picture is known by far more than its first one. `positions` as a
    Span has it."""
    words = array("I")
    words.frombytes(hashlib.shake_256(picture.digest + part.to_bytes(4, "little")).digest(size * words.itemsize))
    numbers = [-1 - word % _FIRST for word in words]
    if positions and size > 1:  # of a single row it is 1
        numbers[-1] = -1 - positions
    numbers[0] -= _FIRST
    return numbers


class Turned(NamedTuple):
    """Places [begin, end) have the position of `begin`; `end` has one that is `positions` further."""

    begin: int
    end: int
    positions: int


def turned(tokens: Sequence[int]) -> list[Turned]:
    """Those of a sequence of which `places` had the positions."""
    found: list[Turned] = []
    begin = -1
    for place, token in enumerate(tokens):
        if -_FIRST <= token < 0:
            begin = place - 1 if begin < 0 else begin
        elif begin >= 0:
            found.append(Turned(begin, place, -1 - tokens[place - 1]))
            begin = -1
    if begin >= 0 and -1 - tokens[-1] <= len(tokens) - begin:
        found.append(Turned(begin, len(tokens), -1 - tokens[-1]))
    elif begin >= 0:  # it is cut short
        found.append(Turned(begin, len(tokens) + 1, 0))
    return found


def position(parts: Iterable[Turned], place: int) -> int:
    """llama.cpp's position of a place, given the turned parts in order."""
    beyond = 0
    for begin, end, positions in parts:
        if place < end:
            return min(place, begin) - beyond
        beyond += end - begin - positions
    return place - beyond


class Positions(NamedTuple):
    """Of ranges of cells. A boundary within a turned part stands before all of it: of several ranges that follow one
    another, the last that reaches into it has its cells."""

    turning: bool = False

    def of(self, tokens: Sequence[int], *places: int) -> tuple[int, ...]:
        """Where each of these places of a sequence is."""
        if not self.turning:
            return places
        parts = turned(tokens)
        return tuple(position(parts, place) for place in places)


PLAIN = Positions()


def whole(tokens: Sequence[int], length: int) -> int:
    """`length`, or where it is in the middle of a picture, where that begins."""
    while 0 < length < len(tokens) and -_FIRST <= tokens[length] < 0:
        length -= 1
    return length
