"""Which tokens go into the next batch. Pure: it sees counts and priorities, never a tensor.

Every decoding sequence gets its token. What prefill gets beside them depends on who waits: alone, a full batch; with
somebody decoding, as much as fits the time a reader may wait for his next token. Among prefills: higher priority
first, then the least served, so a short prompt passes a long one without starving it (the long one keeps a share).
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

MIN_ALONE = 64


class Runnable(Protocol):
    arrival: int
    served: int

    @property
    def remaining(self) -> int: ...
    @property
    def decoding(self) -> bool: ...
    @property
    def priority(self) -> int: ...


R = TypeVar("R", bound=Runnable)


@dataclass(slots=True)
class Pace:
    """How many prompt tokens this machine evaluates in a second, learned from the batches it ran."""

    tokens_per_second: float = 200.0

    def learn(self, tokens: int, seconds: float) -> None:
        if tokens >= 16 and seconds > 0:
            self.tokens_per_second += 0.3 * (tokens / seconds - self.tokens_per_second)

    def tokens_in(self, seconds: float) -> int:
        return int(self.tokens_per_second * seconds)


@dataclass(slots=True)
class Scheduler:
    max_batch: int = 512
    """Most tokens in one batch: a step is bounded, and so is what an abort can lose."""
    shared_seconds: float = 0.08
    """Prefill beside decoding sequences may make their next token wait so long."""
    alone_seconds: float = 1.5
    """A step's length when nobody decodes."""
    min_chunk: int = 16
    """Below this a prefill's tokens get expensive: each batch reads all weights."""
    pace: Pace = field(default_factory=Pace)

    def plan(self, running: Seq[R], cautious: bool = False) -> list[tuple[R, int]]:
        """Who gets how many tokens. `cautious`: somebody is about to arrive, take a small step."""
        decoding = [s for s in running if s.decoding]
        chunks: list[tuple[R, int]] = [(s, 1) for s in decoding]
        if len(decoding) == len(running):
            return chunks
        prefill = sorted((s for s in running if not s.decoding), key=lambda s: (s.priority, s.served, s.arrival))
        budget = min(self.max_batch, max(MIN_ALONE, self.pace.tokens_in(self.alone_seconds))) - len(chunks)
        if decoding or cautious:
            budget = min(budget, max(self.min_chunk, self.pace.tokens_in(self.shared_seconds) - len(chunks)))
        first = prefill[0]
        if len(prefill) > 1 and first.remaining <= budget and first.priority <= prefill[1].priority:
            # short ones finish now and alone: adding a piece of a long prompt would only delay their first token
            for s in prefill:
                if s.remaining > budget or s.priority > first.priority:
                    break
                chunks.append((s, s.remaining))
                budget -= s.remaining
            return chunks
        for s in prefill:
            if budget <= 0 or s.priority > first.priority:
                break
            take = min(s.remaining, budget)
            chunks.append((s, take))
            budget -= take
        return chunks
