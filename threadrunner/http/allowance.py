"""How much a key may ask for: in a minute, by buckets that fill evenly (a token bucket of one minute's size), and at
once. Pure: the time is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

MINUTE = 60.0
AGAIN = 1.0
"""Seconds after which to ask again for a place that another request has: when that ends is not known."""


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
    """`limit` is `requests`, `tokens` or `at_once`; `size` how many of these a minute has, or may be under way;
    `seconds` when to come again."""

    limit: str
    size: int
    seconds: float


class KeyLimits:
    """Those of one key. A request is let in while tokens are left, and what it has used is taken when it has ended; so
    one may use more than is left, and the key then waits until that is made up for. One that takes a place is told of
    by `began` and `ended`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._at_once = 0
        self._under_way = 0

    def allow(self, requests: int, tokens: int, at_once: int = 0) -> None:
        """So many a minute, and so many under way; 0: no limit. What is under way stays so."""
        self._at_once = at_once
        for name, size in (("requests", requests), ("tokens", tokens)):
            if size == 0:
                self._buckets.pop(name, None)
            elif name not in self._buckets:
                self._buckets[name] = Bucket(size, self._clock())
            elif self._buckets[name].size != size:
                self._buckets[name].resized(size, self._clock())

    def ask(self, takes_place: bool = True) -> UsedUp | None:
        """Take one request; or why not, and then nothing is taken."""
        if takes_place and 0 < self._at_once <= self._under_way:
            return UsedUp("at_once", self._at_once, AGAIN)
        now = self._clock()
        for name, bucket in self._buckets.items():
            if (seconds := bucket.wait(1, now)) > 0:
                return UsedUp(name, bucket.size, seconds)
        if (requests := self._buckets.get("requests")) is not None:
            requests.take(1, now)
        return None

    def began(self) -> None:
        self._under_way += 1

    def ended(self) -> None:
        self._under_way -= 1

    def used(self, tokens: int) -> None:
        if (bucket := self._buckets.get("tokens")) is not None:
            bucket.take(tokens, self._clock())
