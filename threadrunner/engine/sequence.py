"""One candidate answer and the request that it belongs to: tokens, counters, times. No llama.cpp, no text rules."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from threadrunner.engine.prompts.detokenizer import Cutter

if TYPE_CHECKING:
    from threadrunner.engine.llama.sampler import Logprob, Sampler, Sampling
    from threadrunner.engine.prompts.detokenizer import Detokenizer

INTERACTIVE, NORMAL, BACKGROUND = 0, 1, 2


@dataclass(slots=True)
class Request:
    """What is asked of the engine. `forced` bytes begin the answer without being part of its text (token healing)."""

    id: int
    prompt: list[int]
    sampling: Sampling
    max_tokens: int | None = None
    priority: int = NORMAL
    stops: list[str] = field(default_factory=list)
    n: int = 1
    forced: bytes = b""
    cutters: Callable[[], list[Cutter]] | None = None
    stop_tokens: frozenset[int] = frozenset()
    """These end the answer as the model's own end tokens do."""


@dataclass(slots=True, eq=False)
class Sequence:
    """Candidate `index` of a request. tokens[:evaluated] are in the KV cache under llama.cpp's sequence `seq`."""

    request: Request
    index: int
    sampler: Sampler
    detokenizer: Detokenizer
    arrival: int
    tokens: list[int]
    seq: int = -1
    evaluated: int = 0
    generated: int = 0
    cached: int = 0
    logprobs: list[Logprob] = field(default_factory=list)
    queued_at: float = field(default_factory=time.monotonic)
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
    def priority(self) -> int:
        return self.request.priority

    def __repr__(self) -> str:
        return f"<Sequence {self.request.id}.{self.index} seq={self.seq} {self.evaluated}/{len(self.tokens)}>"
