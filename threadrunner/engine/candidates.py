"""From a request to the sequences that answer it."""

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


class CandidateMaker:
    """Makes the candidates of one model's requests."""

    def __init__(self, model: Model, vocab: Vocab) -> None:
        self._model = model
        self._vocab = vocab
        self.guide = Guide(lambda: Vocab(model).table())  # another thread calls that: `vocab` has a buffer of its own
        self._arrivals = 0

    def candidates(self, request: Request) -> list[Sequence]:
        """Of each the sampler is the caller's to close. Raises BadGrammar."""
        constraint = request.sampling.constraint
        matchers: list[Matcher] | list[None] = [None] * request.n
        if constraint is not None:
            matchers = self.guide.matchers(constraint, request.n)
        seed = request.sampling.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(4), "little")
        return [self._candidate(request, request.first + i, seed, matcher) for i, matcher in enumerate(matchers)]

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
        sampler.see_prompt([token for token in request.prompt if token >= 0] if request.spans else request.prompt)
        cutters = request.cutters() if request.cutters else []
        text = Detokenizer(request.stops, cutters, skip=len(request.forced))
        utterance = Utterance(text, self._splitter(request, sampler), request.thought_budget)
        self._arrivals += 1
        return Sequence(request, index, sampler, utterance, self._arrivals, list(request.prompt))

    def _splitter(self, request: Request, sampler: Sampler) -> Splitter | None:
        if request.splitter is None:
            return None
        return request.splitter(Steering(self.guide, sampler, request.rules or Rules()))
