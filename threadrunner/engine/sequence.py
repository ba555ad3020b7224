"""One candidate answer and the request that it belongs to: tokens, counters, times. No llama.cpp, no text rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from threadrunner.engine.adapters import PLAIN, Blend
from threadrunner.engine.pictures import Span, Turned, position
from threadrunner.engine.prompts.detokenizer import Cutter

if TYPE_CHECKING:
    from threadrunner.engine.llama.logprobs import Logprob
    from threadrunner.engine.llama.sampler import Sampler
    from threadrunner.engine.llama.sampling import Sampling
    from threadrunner.engine.steering import Rules
    from threadrunner.engine.tools.layout import CallListener
    from threadrunner.engine.tools.splitter import Splitter
    from threadrunner.engine.utterance import Utterance


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
    splitter: Callable[[CallListener], Splitter] | None = None
    """A new one for each candidate; None: all that is said is text."""
    markers: Mapping[int, bytes] = field(default_factory=dict)
    """Control tokens that the splitter is shown, with their texts."""
    rules: Rules | None = None
    thought_begin: frozenset[int] = frozenset()
    """Tokens that may begin the answer whatever its constraint is, which does not hold then."""
    thought_end: tuple[int, ...] = ()
    """What is said for the model when its budget of thought is spent."""
    thought_budget: int | None = None
    first: int = 0
    """The number of its first candidate."""
    spans: tuple[Span, ...] = ()
    """Which places of the prompt are for pictures."""
    blend: Blend = PLAIN
    """The adapters under which it is answered."""
    scored: int | None = None
    """Also find the log-probability of each token of the prompt, and this many likeliest at its place."""


@dataclass(slots=True, eq=False)
class Sequence:
    """Candidate `index` of a request. tokens[:evaluated] are in the KV cache under llama.cpp's sequence id `seq`.

    Cells sets `seq`, `evaluated` and `cached`; Engine the rest. Times are time.monotonic's.
    """

    request: Request
    index: int
    sampler: Sampler
    utterance: Utterance
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
    """Each with the utterance's position before the token."""
    decided: list[int] = field(default_factory=list)
    """Tokens that come next, whatever the model would say."""
    prompt_logprobs: list[Logprob] = field(default_factory=list)
    """Of the prompt's second token and those after it, as far as they are known."""
    started_at: float = 0.0
    first_token_at: float = 0.0

    @property
    def blend(self) -> Blend:
        return self.request.blend

    def known_as(self, end: int) -> list[int]:
        """tokens[:end], as caches have them: what was evaluated under other adapters is not the same."""
        tokens = self.tokens[:end]
        if tokens and self.request.blend.parts:
            tokens[0] = self.request.blend.mark(tokens[0])
        return tokens

    @property
    def remaining(self) -> int:
        """Tokens to evaluate before the next one can be sampled."""
        return len(self.tokens) - self.evaluated

    @property
    def scoring(self) -> bool:
        """Its prompt's logits are wanted, so that no part of it may come from a cache. Other candidates than the first
        have the same prompt."""
        request = self.request
        wanted = request.scored is not None and self.index == request.first
        return wanted and len(self.prompt_logprobs) < len(request.prompt) - 1

    def position(self, place: int) -> int:
        """Where llama.cpp has what is at a place of the tokens."""
        if not self.request.spans:
            return place
        return position([Turned(s.begin, s.end, s.positions) for s in self.request.spans if s.positions], place)

    def reaching(self, last: int) -> int:
        """How many tokens are evaluated after a batch that failed, of which llama.cpp has some, up to position `last`.
        Of a picture whose rows have one position it has none then: it forgets all from the first that failed on."""
        if (span := self.span) is not None and span.positions:
            return span.begin
        if not any(span.positions for span in self.request.spans):
            return last + 1
        return self.evaluated + max(0, last + 1 - self.position(self.evaluated))

    @property
    def span(self) -> Span | None:
        """The part of a picture that is to be evaluated next."""
        return next((span for span in self.request.spans if span.begin <= self.evaluated < span.end), None)

    @property
    def before_picture(self) -> int:
        """Tokens to evaluate before the next part of a picture, or in all."""
        begins = (span.begin for span in self.request.spans if span.begin >= self.evaluated)
        return next(begins, len(self.tokens)) - self.evaluated

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
