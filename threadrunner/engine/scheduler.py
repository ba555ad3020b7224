"""Which tokens go into the next batch. Pure: it sees counts and priorities, never a tensor.

Every decoding sequence gets its token. What prefill gets beside them depends on who waits: alone, a full batch; with
somebody decoding, as much as fits the time a reader may wait for his next token. Among prefills: higher priority
first, then the shortest, so that a short prompt passes a long one; the oldest keeps a share among long ones.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

MIN_ALONE = 64


class Runnable(Protocol):
    arrival: int

    @property
    def uncached(self) -> int: ...
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
        prefill = [s for s in running if not s.decoding]
        first_priority = min(s.priority for s in prefill)
        prefill = sorted((s for s in prefill if s.priority == first_priority), key=lambda s: (s.uncached, s.arrival))
        alone = min(self.max_batch, max(MIN_ALONE, self.pace.tokens_in(self.alone_seconds)))
        budget = alone - len(chunks)
        if decoding or cautious:
            budget = min(budget, max(self.min_chunk, self.pace.tokens_in(self.shared_seconds) - len(chunks)))
        if prefill[0].remaining <= budget:
            # these finish now, and without a piece of a longer one that would only delay their first token
            for s in prefill:
                if s.remaining > budget:
                    break
                chunks.append((s, s.remaining))
                budget -= s.remaining
            return chunks
        oldest = min(prefill, key=lambda s: s.arrival)
        if oldest is not prefill[0]:
            share = min(oldest.remaining, budget // 4)
            chunks.append((oldest, share))
            budget -= share
        chunks.append((prefill[0], budget))
        return chunks
