"""What to show, and when to ask again, while the daemon or its model cannot answer. Pure: it is told the time.

One message when it begins, none for every key after it; a try now and then, at growing intervals; a manual trigger
tries at once.
"""

from __future__ import annotations

from threadrunner.api.errors import ApiError

FIRST_PAUSE = 1.0
"""Seconds without a try after the first failure; doubled by each further one."""
LONGEST_PAUSE = 60.0
"""Seconds."""


class Outage:
    """Failures since the last answer. Times are in seconds of any clock."""

    def __init__(self) -> None:
        self._kind = ""
        self._pause = 0.0
        self._until = 0.0

    def may_ask(self, now: float) -> bool:
        """Whether it is time for a try that the person has not asked for."""
        return now >= self._until

    def failed(self, error: ApiError, now: float) -> bool:
        """Whether to tell the person: the first time, and when it fails in another way."""
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._until = now + self._pause
        first = error.kind != self._kind
        self._kind = error.kind
        return first

    def answered(self) -> bool:
        """Whether an outage ends with this answer."""
        over = bool(self._kind)
        self.reset()
        return over

    def reset(self) -> None:
        """Forget the failures, so that the next request is a first try again."""
        self._kind, self._pause, self._until = "", 0.0, 0.0
