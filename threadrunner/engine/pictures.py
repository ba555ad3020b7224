"""Pictures among tokens: the places of a picture in a sequence are negative numbers, made of its hash.

So a tree of tokens, in cells, in memory or on disk, tells pictures apart as it does words, and knows nothing of them.
The first number of a picture is marked, which is all that is needed to never begin in the middle of one. Pure.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

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

    @property
    def end(self) -> int:
        return self.begin + self.size


def places(picture: Picture, part: int, size: int) -> list[int]:
    """A number of 30 bits for each place, so that a picture is known by far more than its first one."""
    words = array("I")
    words.frombytes(hashlib.shake_256(picture.digest + part.to_bytes(4, "little")).digest(size * words.itemsize))
    numbers = [-1 - word % _FIRST for word in words]
    numbers[0] -= _FIRST
    return numbers


def whole(tokens: Sequence[int], length: int) -> int:
    """`length`, or where it is in the middle of a picture, where that begins."""
    while 0 < length < len(tokens) and -_FIRST <= tokens[length] < 0:
        length -= 1
    return length
