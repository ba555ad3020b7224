"""When a small model drafts for a large one, and how far: by what both cost, and how often the small one is right.

Asking it is not free, as looking up a passage is: each token that it proposes is a decode of its own, and before the
first one it must have evaluated the whole prompt. So it is asked where the measured costs of both say that this gains,
at first on trust. Where it does not pay it is asked only now and then, for a bounded share of the time; what is not
known of the costs is found out then.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from threadrunner.engine.drafting.payoff import StepCosts, best_length

AT_ONCE = 16
"""Tokens that it may lack and evaluate together with its first proposal; more are evaluated beforehand, in pieces."""
PIECE_SECONDS = 0.05
"""Of such a piece: it delays the next token of all who read."""
MIN_PIECE, MAX_PIECE = 32, 512
MIN_GAIN = 1.15
"""Times the speed without. Less than passages need (payoff.MIN_GAIN): what is expected of a model varies less."""
RETRY_SHARE = 0.02
"""Of the time that answers took without it, what another try may cost."""
RETRY_TOKENS = 2
EXPECTED = 64
"""Tokens that an answer is expected to have left, at least; it will go on for about as long as it has gone on."""
_TRUST, _TRUST_WEIGHT = 0.85, 6.0
"""Its record before it has one: with less it would never be tried where a batch is expensive."""
_OWN_WEIGHT = 6.0
_MEMORY = 200.0


class Answering(Protocol, Hashable):
    """What the drafter sees of a sequence."""

    tokens: list[int]
    """The prompt's and the answer's."""


S = TypeVar("S", bound=Answering)


class Proposer(Protocol[S]):
    """The small model itself."""

    def lacks(self, answer: S) -> int | None:
        """Tokens that it must evaluate before it can propose any; None where it cannot follow this answer."""

    def evaluate(self, answer: S, count: int) -> bool:
        """So many of those that it lacks, not the last one. False where there was no room for them."""

    def propose(self, lengths: Mapping[S, int]) -> dict[S, list[int]]:
        """Up to so many tokens for each, all at once: a decode for each further one. What it lacks is evaluated first.
        Those are missing for which there is no room."""

    def forget(self, answer: S) -> None:
        """It has ended."""


@dataclass(slots=True)
class Trust:
    """How often a proposed token was the one that was said, of those that were looked at."""

    right: float = _TRUST * _TRUST_WEIGHT
    all: float = _TRUST_WEIGHT

    @property
    def chance(self) -> float:
        return self.right / self.all

    def observe(self, right: int, wrong: int) -> None:
        if self.all >= _MEMORY:
            self.right *= 1 - (right + wrong) / _MEMORY
            self.all *= 1 - (right + wrong) / _MEMORY
        self.right += right
        self.all += right + wrong

    def for_one(self) -> Trust:
        """Of one answer's own: it begins with what is known of all."""
        return Trust(_OWN_WEIGHT * self.chance, _OWN_WEIGHT)


@dataclass(slots=True)
class _Attempts:
    """Of one answer."""

    trust: Trust
    began: int
    """Its tokens when it was first seen."""


@dataclass
class Costs:
    """Seconds that the small model needs."""

    relative: float = 0.1
    """Its size beside the large one's: what its steps are expected to take, until they were measured."""
    steps: StepCosts = field(default_factory=StepCosts)
    """A batch of up to AT_ONCE tokens."""
    prompt_token: float = 0.0
    """A token of a longer one."""

    def learn(self, tokens: int, seconds: float) -> None:
        if tokens <= AT_ONCE:
            self.steps.learn(tokens, seconds)
        else:
            known = self.prompt_token or seconds / tokens
            self.prompt_token = known + 0.3 * (seconds / tokens - known)

    def of(self, tokens: int, large: StepCosts) -> float:
        """`large` are those of the large model."""
        known = self.steps if self.steps.of(1) else large
        scale = 1.0 if known is self.steps else self.relative
        if tokens <= AT_ONCE:
            return scale * known.of(max(1, tokens))
        return tokens * (self.prompt_token or scale * known.of(AT_ONCE) / AT_ONCE)

    def piece(self) -> int:
        """How many of a prompt's tokens to evaluate at once."""
        if not self.prompt_token:
            return 2 * MIN_PIECE
        return max(MIN_PIECE, min(MAX_PIECE, int(PIECE_SECONDS / self.prompt_token)))


class SmallModel(Generic[S]):
    """Decides which answers to ask the proposer for."""

    def __init__(self, proposer: Proposer[S], costs: Costs) -> None:
        """`costs` are the proposer's, which learns them."""
        self.proposer = proposer
        self.costs = costs
        self.trust = Trust()
        self._attempts: dict[S, _Attempts] = {}
        self._without = 0.0
        """Seconds in which tokens were said without it since it was last tried."""

    def wish(self, answer: S, room: int, beside: int, batch: StepCosts, longest: int) -> tuple[int, float]:
        """How many tokens to propose for an answer, at most `longest`, and by which factor that is faster than none.

        `room` is what it may still say, `beside` the batch's other tokens, `batch` what the large model's batches cost.
        (0, 1.0) where it does not pay, or while the small model still evaluates what was said before, a piece of which
        this call may do.
        """
        alone = batch.of(beside)
        lacking = self.proposer.lacks(answer) if alone > 0 and longest > 0 else None
        if lacking is None:
            return 0, 1.0
        known = self._attempts.get(answer)
        if known is None:
            known = self._attempts[answer] = _Attempts(self.trust.for_one(), len(answer.tokens))
        self._without += alone / beside
        length, gain = self._best(known.trust.chance, longest, beside, batch)
        if not length:
            return self._retry(answer, lacking, beside, batch)
        if lacking <= AT_ONCE:
            return length, gain
        left = min(room, max(EXPECTED, len(answer.tokens) - known.began))
        if left * alone / beside * (1 - 1 / gain) > self.costs.of(lacking, batch):
            self.proposer.evaluate(answer, min(lacking - 1, self.costs.piece()))
        return 0, 1.0

    def _best(self, chance: float, longest: int, beside: int, batch: StepCosts) -> tuple[int, float]:
        chances = [chance ** (i + 1) for i in range(longest)]
        return best_length(chances, batch, beside, each=self.costs.of(1, batch), least=MIN_GAIN)

    def _retry(self, answer: S, lacking: int, beside: int, batch: StepCosts) -> tuple[int, float]:
        """Once in a while, where it would pay if it were right as often as was trusted at first, or where what it costs
        is not known."""
        unknown = not self.costs.steps.knows(1) or not batch.knows(beside + RETRY_TOKENS)
        length, gain = self._best(_TRUST, RETRY_TOKENS, beside, batch)
        if not (unknown or length):
            return 0, 1.0
        ahead = max(0, lacking - AT_ONCE)
        more = batch.of(beside + RETRY_TOKENS) - batch.of(beside) + (1 + RETRY_TOKENS) * self.costs.of(1, batch)
        if ahead > MAX_PIECE or self.costs.of(lacking, batch) + more > RETRY_SHARE * self._without:
            return 0, 1.0
        if ahead:
            self.proposer.evaluate(answer, min(lacking - 1, self.costs.piece()))
            return 0, 1.0
        self._without = 0.0
        return RETRY_TOKENS, max(gain, MIN_GAIN)

    def settled(self, answer: S, drafted: int, accepted: int) -> None:
        """How many tokens of a proposal came true; the one after them was wrong, where there is one."""
        wrong = int(accepted < drafted)
        self.trust.observe(accepted, wrong)
        if known := self._attempts.get(answer):
            known.trust.observe(accepted, wrong)
        self._without = 0.0

    def ended(self, answer: S) -> None:
        if self._attempts.pop(answer, None) is not None:
            self.proposer.forget(answer)
