"""What was done since the daemon started: counts for `status` and for Prometheus."""

from __future__ import annotations

from collections import Counter

from threadrunner.api.generation import Generated
from threadrunner.api.status import Work


class Tally:
    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self._work: dict[str, Work] = {}

    def answered(self, result: Generated) -> None:
        work = self._work.setdefault(result.model, Work(model=result.model))
        work.requests += 1
        work.prompt_tokens += result.usage.prompt_tokens
        work.cached_tokens += result.usage.cached_tokens
        work.completion_tokens += result.usage.completion_tokens
        work.tokens_per_second = round(result.timings.tokens_per_second, 2)

    def failed(self, kind: str) -> None:
        self.errors[kind] += 1

    def work(self) -> list[Work]:
        return list(self._work.values())
