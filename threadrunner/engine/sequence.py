"""One candidate answer and the request that it belongs to: tokens, counters, times. No llama.cpp, no text rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from threadrunner.engine.prompts.detokenizer import Cutter

if TYPE_CHECKING:
    from threadrunner.engine.llama.sampler import Logprob, Sampler, Sampling
    from threadrunner.engine.prompts.detokenizer import Detokenizer


class Priority(IntEnum):
    """How urgent a request is: the smaller goes first."""

    INTERACTIVE = 0
    NORMAL = 1
    BACKGROUND = 2


@dataclass(slots=True)
class Request:
    """What is asked of the engine. `forced` bytes begin the answer without being part of its text (token healing)."""

    id: int
    prompt: list[int]
    sampling: Sampling
    max_tokens: int | None = None
    priority: Priority = Priority.NORMAL
    stops: list[str] = field(default_factory=list)
    n: int = 1
    """Candidate answers."""
    forced: bytes = b""
    cutters: Callable[[], list[Cutter]] | None = None
    """New ones for each candidate, whose text they follow."""
    reproducible: bool = True
    """The same request should give the same text, as far as that is in our hands."""
    stop_tokens: frozenset[int] = frozenset()
    """These end the answer as the model's own end tokens do."""


@dataclass(slots=True, eq=False)
class Sequence:
    """Candidate `index` of a request. tokens[:evaluated] are in the KV cache under llama.cpp's sequence id `seq`.

    Cells sets `seq`, `evaluated` and `cached`; Engine the rest. Times are time.monotonic's.
    """

    request: Request
    index: int
    sampler: Sampler
    detokenizer: Detokenizer
    arrival: int
    """Its number among all candidates that came."""
    tokens: list[int]
    """The prompt's and the answer's."""
    seq: int = -1
    """-1: it does not run."""
    evaluated: int = 0
    generated: int = 0
    cached: int = 0
    """Tokens of the prompt that were known when it began to run."""
    drafted: int = 0
    """Cells behind the evaluated ones, of tokens that were proposed and not said."""
    logprobs: list[tuple[Logprob, int]] = field(default_factory=list)
    """With the length of the text before the token."""
    started_at: float = 0.0
    first_token_at: float = 0.0

    @property
    def remaining(self) -> int:
        """Tokens to evaluate before the next one can be sampled."""
        return len(self.tokens) - self.evaluated

    @property
    def uncached(self) -> int:
        return len(self.request.prompt) - self.cached

    @property
    def decoding(self) -> bool:
        return self.generated > 0 and len(self.tokens) - self.evaluated == 1

    @property
    def priority(self) -> Priority:
        return self.request.priority

    def __repr__(self) -> str:
        return f"<Sequence {self.request.id}.{self.index} seq={self.seq} {self.evaluated}/{len(self.tokens)}>"
