"""The candidates of a request: each with a sampler, what it is kept to, and what becomes of its tokens' bytes."""

from __future__ import annotations

import os

from threadrunner.engine.constraints.guide import Guide, Matcher
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.sampler import Sampler
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts.detokenizer import Detokenizer
from threadrunner.engine.sequence import Request, Sequence
from threadrunner.engine.steering import Rules, Steering
from threadrunner.engine.tools.splitter import Splitter
from threadrunner.engine.utterance import Utterance


class Candidates:
    """Makes them for one model."""

    def __init__(self, model: Model, vocab: Vocab) -> None:
        self._model = model
        self._vocab = vocab
        self._guide = Guide(vocab.table)
        self._arrivals = 0

    def make(self, request: Request) -> list[Sequence]:
        """All of a request's; each one's sampler is the caller's to close. Raises BadGrammar."""
        seed = request.sampling.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(4), "little")
        matchers = self._matchers(request)
        return [self._candidate(request, request.first_index + i, seed, matcher) for i, matcher in enumerate(matchers)]

    def _matchers(self, request: Request) -> list[Matcher] | list[None]:
        constraint = request.sampling.constraint
        return [None] * request.n if constraint is None else self._guide.matchers(constraint, request.n)

    def _candidate(self, request: Request, index: int, seed: int, matcher: Matcher | None) -> Sequence:
        sampler = Sampler(
            self._model,
            self._vocab,
            request.sampling,
            (seed + index) % 0xFFFFFFFF,  # llama.cpp takes seed 2**32 - 1 for "make one up"
            forced=request.forced,
            matcher=matcher,
            stop_tokens=request.stop_tokens,
        )
        sampler.see_prompt(request.prompt)
        cutters = request.cutters() if request.cutters else []
        text = Detokenizer(request.stops, cutters, skip=len(request.forced))
        utterance = Utterance(text, self._splitter(request, sampler), request.thought_budget)
        self._arrivals += 1
        return Sequence(request, index, sampler, utterance, self._arrivals, list(request.prompt))

    def _splitter(self, request: Request, sampler: Sampler) -> Splitter | None:
        if request.splitter is None:
            return None
        return request.splitter(Steering(self._guide, sampler, request.rules or Rules()))
