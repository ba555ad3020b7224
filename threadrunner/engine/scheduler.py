"""Which tokens go into the next batch. Pure: it sees counts and priorities, never a tensor.

Every decoding sequence gets its token. What prefill gets beside them depends on what else waits: alone, a full batch;
beside a decoding sequence, as much as fits the time that readers may wait for their next token. Among prefills: higher
priority first, then the shortest, so that a short prompt passes a long one; the oldest keeps a share among long ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from threadrunner.engine.sequence import Priority

MIN_ALONE = 64
"""Prompt tokens that a step takes at least when no sequence decodes, however slow the machine is."""


class Runnable(Protocol):
    """What the scheduler sees of a sequence; counts are of tokens."""

    arrival: int

    @property
    def uncached(self) -> int: ...
    @property
    def remaining(self) -> int: ...
    @property
    def decoding(self) -> bool: ...
    @property
    def priority(self) -> Priority: ...


R = TypeVar("R", bound=Runnable)


class Chunk(NamedTuple, Generic[R]):
    """A part of a batch: the next `size` tokens of a sequence."""

    sequence: R
    size: int
    logits_at: int | None
    """Place in the batch of its last token, after which the next one is sampled; None where more of its prompt must be
    evaluated first."""
    draft: Seq[int] = ()
    """Tokens that may be said next; they are in the batch behind that place, each with its logits."""


def batch_of(parts: Iterable[tuple[R, int]]) -> list[Chunk[R]]:
    """Sequences, and how many tokens of each, as the chunks of one batch in this order."""
    chunks: list[Chunk[R]] = []
    end = 0
    for sequence, size in parts:
        end += size
        chunks.append(Chunk(sequence, size, end - 1 if size == sequence.remaining else None))
    return chunks


def with_drafts(chunks: Iterable[Chunk[R]], drafts: Mapping[R, Seq[int]]) -> list[Chunk[R]]:
    """A batch of one token each, with the drafts of those that have one."""
    longer: list[Chunk[R]] = []
    place = 0
    for chunk in chunks:
        draft = drafts.get(chunk.sequence, ())
        longer.append(Chunk(chunk.sequence, 1, place, draft))
        place += 1 + len(draft)
    return longer


@dataclass(slots=True)
class Pace:
    """How many prompt tokens this machine evaluates in a second, learned from the batches it ran."""

    tokens_per_second: float = 200.0

    def learn(self, tokens: int, seconds: float, sequences: int = 1) -> None:
        """A batch of tokens of so many sequences; where it is one of each, none is a prompt's."""
        if tokens >= 16 and tokens > sequences and seconds > 0:
            self.tokens_per_second += 0.3 * (tokens / seconds - self.tokens_per_second)

    def tokens_in(self, seconds: float) -> int:
        return int(self.tokens_per_second * seconds)


@dataclass(slots=True)
class Scheduler:
    """Divides each batch among the running sequences. Engine.step asks it, and tells `pace` how long a batch took."""

    max_batch: int = 512
    """Maximum tokens in one batch: a step is bounded, and so is what an abort can lose."""
    shared_seconds: float = 0.08
    """Prefill beside decoding sequences may delay their next token by this much."""
    alone_seconds: float = 1.5
    """A step's length when no sequence decodes."""
    min_chunk: int = 16
    """Below this a prefill's tokens get expensive: each batch reads all weights."""
    abortable: bool = True
    """Whether a message that arrives can stop a batch. Where it cannot, on a GPU or since a stopped one would cost its
    sequences their recurrent states, it waits for the end of one, so that prefill alone goes in pieces of
    `unstoppable_seconds`. In pieces of 64 tokens it takes 3 % longer (SmolLM2, by processor time)."""
    unstoppable_seconds: float = 0.2
    pace: Pace = field(default_factory=Pace)

    def schedule(self, running: Seq[R], cautious: bool = False) -> list[Chunk[R]]:
        """The next batch; empty when nothing runs. `cautious`: a message is about to arrive, take a small step."""
        decoding = [s for s in running if s.decoding]
        if len(decoding) == len(running):
            return [Chunk(s, 1, place) for place, s in enumerate(decoding)]
        prefill = [s for s in running if not s.decoding]
        first_priority = min(s.priority for s in prefill)
        prefill = sorted((s for s in prefill if s.priority == first_priority), key=lambda s: (s.uncached, s.arrival))
        budget = self.prefill_room(bool(decoding) or cautious, len(decoding))
        return batch_of([*((s, 1) for s in decoding), *_prefill(prefill, budget)])

    def prefill_room(self, shared: bool, decoding: int = 0) -> int:
        """Tokens of prompts that a batch takes beside those of so many sequences that decode; `shared`: they, or a
        message, wait for its end."""
        budget = self._alone() - decoding
        if not shared:
            return budget
        return min(budget, max(self.min_chunk, self.pace.tokens_in(self.shared_seconds) - decoding))

    def _alone(self) -> int:
        """Tokens of a batch that no reader waits for."""
        if self.abortable:
            return min(self.max_batch, max(MIN_ALONE, self.pace.tokens_in(self.alone_seconds)))
        return min(self.max_batch, max(self.min_chunk, self.pace.tokens_in(self.unstoppable_seconds)))


def _prefill(waiting: list[R], budget: int) -> Iterator[tuple[R, int]]:
    """What each prompt, the shortest first, gets of `budget` tokens."""
    if waiting[0].remaining <= budget:
        # these finish now, and without a piece of a longer one that would only delay their first token
        for s in waiting:
            if s.remaining > budget:
                return
            yield s, s.remaining
            budget -= s.remaining
        return
    oldest = min(waiting, key=lambda s: s.arrival)
    if oldest is not waiting[0]:
        share = min(oldest.remaining, budget // 4)
        yield oldest, share
        budget -= share
    yield waiting[0], budget
