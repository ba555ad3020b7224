"""Adapters of one model: which of them a request wants, and whose turn it is where requests want different ones.

llama.cpp applies adapters to all of a batch, so sequences under different ones take turns, and what is kept of one is
of no use to the other. Pure but for the handles, which are only passed on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

_MARKS = 1 << 30
"""Tokens are below it, what stands for one under adapters is not. Both fit an int32, as caches have them."""
TURN = 16
"""Steps: to change adapters makes llama.cpp plan its memory anew, 4 ms (SmolLM2)."""


@dataclass(frozen=True, slots=True)
class Blend:
    """Adapters by their handles, each with the scale at which it is applied; as it is made: the model as it is."""

    parts: tuple[tuple[int, float], ...] = ()
    identity: str = ""
    """Tells this blend from all others, also in another process: of which files' content, and how much of each."""

    def mark(self, token: int) -> int:
        """What stands for the first token of a sequence in caches. A path through one of their trees begins there, so
        the rest may be as it is: under another blend, nothing of the path is met."""
        if not self.parts:
            return token
        digest = hashlib.blake2b(f"{self.identity} {token}".encode(), digest_size=4).digest()
        return _MARKS | (int.from_bytes(digest, "little") & (_MARKS - 1))


PLAIN = Blend()


def blend_of(wanted: Iterable[tuple[int, str, float]]) -> Blend:
    """Of handles, each with what tells its file from others and with its scale; a scale of 0 leaves it out."""
    parts = sorted((what, scale, handle) for handle, what, scale in wanted if scale)
    return Blend(tuple((handle, scale) for _, scale, handle in parts), json.dumps([part[:2] for part in parts]))


class Blended(Protocol):
    """What Turns sees of a sequence."""

    @property
    def blend(self) -> Blend: ...


B = TypeVar("B", bound=Blended)


class Turns(Generic[B]):
    """Whose turn it is: each blend that has sequences running gets TURN steps, the one that waited longest first."""

    def __init__(self) -> None:
        self._blend = PLAIN
        self._left = 0
        self._order: list[Blend] = []
        """Those that run, the one whose turn is the longest ago first."""

    def take(self, running: Seq[B]) -> tuple[list[B], bool]:
        """Those whose turn it is in this step, and whether others wait for its end."""
        first = running[0].blend if running else PLAIN
        if all(sequence.blend is first or sequence.blend == first for sequence in running):
            self._blend, self._left, self._order = first, TURN, []
            return list(running), False
        blends = {sequence.blend for sequence in running}
        known = [blend for blend in self._order if blend in blends]
        new = [blend for blend in dict.fromkeys(sequence.blend for sequence in running) if blend not in known]
        self._order = [*new, *known]
        if self._blend not in blends or self._left <= 0:
            self._blend = next(blend for blend in self._order if blend != self._blend)
            self._left = TURN
        self._left -= 1
        self._order.remove(self._blend)
        self._order.append(self._blend)
        return [sequence for sequence in running if sequence.blend == self._blend], True
