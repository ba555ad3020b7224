"""How much a key may ask for in a minute, by buckets that fill evenly (a token bucket of one minute's size). Pure: the
time is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

MINUTE = 60.0


class Bucket:
    """Holds at most `size`, and is filled once a minute if it is empty. May be overdrawn: what an answer costs is known
    when it has been given."""

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self._left = float(size)
        self._at = now

    def left(self, now: float) -> float:
        return min(float(self.size), self._left + (now - self._at) * self.size / MINUTE)

    def take(self, amount: float, now: float) -> None:
        self._left, self._at = self.left(now) - amount, now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until that much is there."""
        return max(0.0, (amount - self.left(now)) * MINUTE / self.size)

    def resized(self, size: int, now: float) -> None:
        """What is missing stays missing."""
        missing = self.size - self.left(now)
        self.size, self._left, self._at = size, size - missing, now


class UsedUp(NamedTuple):
    """`limit` is `requests` or `tokens`, `size` how many of these a minute has, `seconds` when to come again."""

    limit: str
    size: int
    seconds: float


class MinuteLimits:
    """Those of one key. A request is let in while tokens are left, and what it has used is taken when it has ended; so
    one may use more than is left, and the key then waits until that is made up for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def allow(self, requests: int, tokens: int) -> None:
        """So many a minute; 0: no limit."""
        for name, size in (("requests", requests), ("tokens", tokens)):
            if size == 0:
                self._buckets.pop(name, None)
            elif name not in self._buckets:
                self._buckets[name] = Bucket(size, self._clock())
            elif self._buckets[name].size != size:
                self._buckets[name].resized(size, self._clock())

    def ask(self) -> UsedUp | None:
        """Take one request; or why not, and then nothing is taken."""
        now = self._clock()
        for name, bucket in self._buckets.items():
            if (seconds := bucket.wait(1, now)) > 0:
                return UsedUp(name, bucket.size, seconds)
        if (requests := self._buckets.get("requests")) is not None:
            requests.take(1, now)
        return None

    def used(self, tokens: int) -> None:
        if (bucket := self._buckets.get("tokens")) is not None:
            bucket.take(tokens, self._clock())
