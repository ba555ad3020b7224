"""Online logistic regression: how likely an event is, from a few numbers, learned one observation at a time. Pure.

Steps by AdaGrad (Duchi, Hazan, Singer 2011): each weight has a rate of its own that falls with what it has learned, so
a feature that is rarely there still moves when it is. Weights and their sums of squares change by addition, therefore
what two editors have learned apart can be added up (see habits.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

RATE = 0.3
"""Of a step; it is divided by the root of what the weight has learned."""
FIRM = 4.0
"""Sum of squares that a weight begins with: so much the prior is trusted."""
FARTHEST = 8.0
"""A weight goes no farther from 0."""


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), for any float."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-min(x, 500.0)))
    power = math.exp(max(x, -500.0))
    return power / (1.0 + power)


@dataclass
class Logistic:
    """`weights[0]` belongs to a feature that is always 1."""

    weights: list[float]
    squares: list[float] = field(default_factory=list)
    """Of each weight's gradients so far."""

    def __post_init__(self) -> None:
        self.squares = self.squares or [FIRM] * len(self.weights)

    def chance(self, features: Sequence[float]) -> float:
        """The probability, 0 to 1."""
        return sigmoid(sum(w * x for w, x in zip(self.weights, features, strict=True)))

    def learn(self, features: Sequence[float], happened: float, rate: float = RATE) -> None:
        """One step towards what has happened: 1, 0, or how likely it is that it would have."""
        miss = happened - self.chance(features)
        for i, x in enumerate(features):
            slope = miss * x
            self.squares[i] += slope * slope
            self.weights[i] = within(self.weights[i] + rate * slope / math.sqrt(self.squares[i]))


def within(weight: float) -> float:
    """No farther from 0 than FARTHEST."""
    return max(-FARTHEST, min(FARTHEST, weight))
