"""Whether drafting pays, and how far: the product of what a longer batch costs and how often such drafts come true.

Neither is assumed. On 2 cores a batch of 2, 4, 8 tokens costs 1.65, 2.5, 4.3 times one (SmolLM2-135M; 1.75, 2.3, 3.9
for a 0.5B model): drafting by habit lost 11 to 44 % there. On a GPU the same batch costs little more than one token.
How often drafts come true is counted without drafting: each token that is said is held against what would have been
proposed. So what does not pay is never tried, and costs nothing to find out.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

MAX_DRAFT = 15
"""Tokens; with the one that was said they make a batch of 16."""
MIN_GAIN = 1.25
"""Times the speed without a draft; what is expected to gain less is not tried: with 1.08, half of what was drafted for
an edited copy of a program was wrong, and 4 % were lost."""
USUAL_COSTS = {1: 1.0, 2: 1.65, 4: 2.5, 8: 4.3, 16: 7.5}
"""Tokens of a batch -> its time beside one token's, until it was measured."""


class StepCosts:
    """Seconds that a batch of some tokens takes, each with its logits. Learned from the batches that were run."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def learn(self, tokens: int, seconds: float) -> None:
        known = self._seconds.get(tokens)
        # a batch may be slow because of others on the machine: what is known gives way slowly, what is faster counts
        weight = 0.1 if known is not None and seconds > known else 0.3
        self._seconds[tokens] = seconds if known is None else known + weight * (seconds - known)

    def knows(self, tokens: int) -> bool:
        """Whether such a batch was measured."""
        return tokens in self._seconds

    def of(self, tokens: int) -> float:
        """Seconds; scaled by the usual costs from the nearest number of tokens that was measured, 0 before any was."""
        known = self._seconds.get(tokens)
        if known is not None:
            return known
        nearest = min(self._seconds, key=lambda n: abs(n - tokens), default=None)
        return 0.0 if nearest is None else self._seconds[nearest] * _usual(tokens) / _usual(nearest)


def _usual(tokens: int) -> float:
    """USUAL_COSTS, straight lines between them and on after the last."""
    known = sorted(USUAL_COSTS)
    at = min(max(bisect_right(known, tokens), 1), len(known) - 1)
    low, high = known[at - 1], known[at]
    share = (tokens - low) / (high - low)
    return USUAL_COSTS[low] + share * (USUAL_COSTS[high] - USUAL_COSTS[low])


_GRADES = (3, 5, 8, 16, 32)
"""Agreements from which on the next grade counts: a longer one is a surer sign."""
_PRIOR = 0.3
_PRIOR_WEIGHT = 4.0
_OWN_WEIGHT = 6.0
_MEMORY = 100.0
"""Observations after which older ones fade."""


@dataclass(slots=True)
class _Count:
    true: float = _PRIOR * _PRIOR_WEIGHT
    all: float = _PRIOR_WEIGHT


@dataclass(slots=True)
class Reliability:
    """How often the next token is the one proposed, by the length of the agreement before it."""

    _counts: list[_Count] = field(default_factory=lambda: [_Count() for _ in range(len(_GRADES) + 1)])

    def observe(self, agreed: int, came_true: bool) -> None:
        count = self._counts[bisect_right(_GRADES, agreed)]
        if count.all >= _MEMORY:
            count.true *= 1 - 1 / _MEMORY
            count.all *= 1 - 1 / _MEMORY
        count.true += came_true
        count.all += 1

    def for_one(self) -> Reliability:
        """A record of one answer's own, which begins with what is known of all: a copied passage is another matter than
        an edited one, and the next answer another still."""
        return Reliability([_Count(_OWN_WEIGHT * count.true / count.all, _OWN_WEIGHT) for count in self._counts])

    def of(self, agreed: int) -> float:
        count = self._counts[bisect_right(_GRADES, agreed)]
        return count.true / count.all

    def chances(self, agreed: int, count: int) -> list[float]:
        """The probability that the first, the first two, … of `count` proposed tokens come true."""
        chances, chance = [], 1.0
        for i in range(count):
            chance *= self.of(agreed + i)
            chances.append(chance)
        return chances


def best_length(
    chances: list[float], costs: StepCosts, beside: int, *, each: float = 0.0, least: float = MIN_GAIN
) -> tuple[int, float]:
    """How many of the proposed tokens to put into a batch, and the factor by which that is faster than none.

    `chances[i]` is the probability that the first i + 1 come true; `beside` counts the batch's other tokens, the one
    just said included; `each` is the seconds that it takes to propose one. (0, 1.0) where no length gains `least`.
    """
    alone = costs.of(beside)
    if alone <= 0:
        return 0, 1.0
    best, gain, said = 0, 1.0, float(beside)
    for length, chance in enumerate(chances[:MAX_DRAFT], start=1):
        said += chance
        factor = said / beside * alone / (costs.of(beside + length) + length * each)
        if factor > gain:
            best, gain = length, factor
    return (best, gain) if gain >= least else (0, 1.0)
