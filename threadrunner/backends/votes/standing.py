"""How a vote stands: who leads, and whether that can change. Pure.

A key that reaches a number of votes first is ahead of one that reaches it later. So the lead cannot be lost once the
runner-up, given all votes that are still to come, would only draw level; and a vote that stops early has the winner
that the whole one would have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

ROUNDING = 1e-9
"""A share such as 0.6 is not quite that, and three of five are enough for it."""


class Standing(NamedTuple):
    """After `answers` of `n` answers. An answer without a key has no vote."""

    n: int
    answers: int
    votes: int
    """The leader's."""
    leader: str | None
    keys: int
    decided: bool
    """No further answer can change who leads, nor on which side of `least` the agreement is."""

    @property
    def agreement(self) -> float:
        """The leader's share of the answers so far. Once it is decided, this is below `least` where the share of all n
        would be, and only there."""
        return self.votes / self.answers if self.answers else 0.0


def standing(keys: Sequence[str | None], n: int, least: float | None = None) -> Standing:
    """From the keys of the answers so far, in the order in which they were complete."""
    count: Counter[str] = Counter()
    leader, votes = None, 0
    for key in keys:
        if key is None:
            continue
        count[key] += 1
        if count[key] > votes:
            leader, votes = key, count[key]
    left = n - len(keys)
    runner_up = max((number for key, number in count.items() if key != leader), default=0)
    needed = 0.0 if least is None else least * n - ROUNDING
    settled = _lead_holds(votes, runner_up, left) and votes >= needed
    too_few = votes + left < needed
    return Standing(n, len(keys), votes, leader, len(count), left <= 0 or settled or too_few)


def _lead_holds(votes: int, runner_up: int, left: int) -> bool:
    return votes > 0 and votes >= runner_up + left
