"""What to say, and when to ask again, while the daemon or its model cannot answer. Pure: it is told the time.

One message when it begins, none for every key after it; a try now and then, rarer and rarer; a manual trigger tries
at once.
"""

from __future__ import annotations

from threadrunner.api.errors import ApiError

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class Outage:
    def __init__(self) -> None:
        self._kind = ""
        self._pause = 0.0
        self._until = 0.0

    @property
    def message(self) -> str:
        """The failure under way, empty for none."""
        return self._kind

    def may_ask(self, now: float) -> bool:
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
        self._kind, self._pause, self._until = "", 0.0, 0.0
        return over
