"""Below which chance of being taken a suggestion is not shown: a threshold that moves with the person's habits. Pure.

What became of suggestions is kept by their chances, in bins. The threshold is the highest at which those below it would
have brought no more than a share of all characters: someone whose unlikely suggestions are useful to them sees more of
these than someone who never takes one. What was not shown is counted too, by what was typed in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BINS = 20
"""Of chances, each as wide."""
SPARED = 0.04
"""Share of the characters that suggestions save which quiet may cost."""
EXPLORED = 25
"""One in so many that would be held back is shown all the same: habits and models change."""
MEMORY = 4000.0
"""Suggestions; when there are more, all are halved, so that old habits fade."""


@dataclass
class Ledger:
    """By bin: how many were right, how many wrong, and the characters of those that were right."""

    right: list[float]
    wrong: list[float]
    characters: list[float]

    @classmethod
    def empty(cls) -> Ledger:
        return cls([0.0] * BINS, [0.0] * BINS, [0.0] * BINS)

    def add(self, chance: float, right: float, characters: int) -> None:
        """`right` is 1, 0, or how likely it is; `characters` are those that a right one saves."""
        at = bin_of(chance)
        self.right[at] += right
        self.wrong[at] += 1 - right
        self.characters[at] += right * characters

    def plus(self, other: Ledger, weight: float = 1.0) -> Ledger:
        def added(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
            return [a + weight * b for a, b in zip(mine, theirs, strict=True)]

        return Ledger(
            added(self.right, other.right), added(self.wrong, other.wrong), added(self.characters, other.characters)
        )

    def faded(self) -> Ledger:
        """Halved where there are more than MEMORY."""
        full = sum(self.right) + sum(self.wrong) > MEMORY
        return Ledger.empty().plus(self, 0.5) if full else self


def explores(id: str) -> bool:
    """Whether a suggestion is one of those that are shown in spite of their chance. By its id, which is a checksum in
    hexadecimal digits: so it stays shown, and chance plays no part in tests."""
    return int(id, 16) % EXPLORED == 0


def bin_of(chance: float) -> int:
    return min(BINS - 1, max(0, int(chance * BINS)))


def threshold(outcomes: Ledger, spared: float = SPARED) -> float:
    """The chance from which on a suggestion is shown; 0 where nothing is known, so that all are."""
    allowed = spared * sum(outcomes.characters)
    lost = 0.0
    for at in range(BINS):
        count = outcomes.right[at] + outcomes.wrong[at]
        lost += outcomes.characters[at]
        if lost > allowed or not any(outcomes.wrong[at:]):
            # within the bin: as much of it as still fits
            before = lost - outcomes.characters[at]
            part = (allowed - before) / outcomes.characters[at] if lost > allowed and count else 0.0
            return (at + max(0.0, min(1.0, part))) / BINS
    return 0.0
