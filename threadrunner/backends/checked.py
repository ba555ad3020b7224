"""Answers that are checked when they are finished: what does not fit is asked for again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from threadrunner.api.sampling import SamplingParams
from threadrunner.engine.constraints.check import SchemaCheck
from threadrunner.engine.events import Ended
from threadrunner.engine.llama.errors import BadGrammar
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.engine.sequence import Request

TRIES = 4
"""Answers that each candidate may give."""
_STEP = 0x9E3779B1
"""Between the seeds of two tries; odd, so that those of other candidates are not met soon."""


class Checked:
    """The check of one request's answers."""

    def __init__(self, schema: SchemaCheck, request: Request) -> None:
        self._schema = schema
        self._request = request
        self._tries: Counter[int] = Counter()
        self.tokens = 0
        """Of the answers that did not fit."""

    def again(self, ended: Ended) -> Request | None:
        """What to ask for in place of an answer that does not fit; None for one that does, or that was cut short.
        Raises BadGrammar where the last try does not fit either."""
        if ended.reason == "length" or ended.told.calls:
            return None
        problem = self._schema.problem(ended.text)
        if problem is None:
            return None
        self._tries[ended.index] += 1
        tries = self._tries[ended.index]
        if tries == TRIES:
            raise BadGrammar(f"none of {TRIES} answers fits the schema; the last one, {problem}")
        self.tokens += ended.sequence.generated
        scored = self._request.scored if ended.index == 0 else None
        return replace(self._request, n=1, first=ended.index, scored=scored, sampling=self._sampling(tries))

    def _sampling(self, tries: int) -> Sampling:
        """A greedy answer would be the same again."""
        sampling = self._request.sampling
        seed = None if sampling.seed is None else (sampling.seed + tries * _STEP) % 0xFFFFFFFF
        return replace(sampling, seed=seed, temperature=sampling.temperature or Sampling().temperature)


def checked(params: SamplingParams, request: Request) -> Checked | None:
    """None where nothing is to be checked. Raises BadGrammar for what is no schema."""
    if params.json_schema_check != "after" or not isinstance(params.json_schema, dict):
        return None
    return Checked(SchemaCheck(params.json_schema), request)
