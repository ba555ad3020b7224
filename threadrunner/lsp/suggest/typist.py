"""When to ask: how long to wait after a key, from how the person types and how long answers take. Pure.

Waiting saves the requests that the next key would cancel. What they would cost is the engine's time up to the cancel,
so with fast answers there is nothing to save and nothing to wait for.
"""

from __future__ import annotations

from collections import deque

GAP_LIMIT = 1.0
"""Seconds; a longer gap is thinking, not typing."""
FIRST_GAP = 0.12
"""Seconds between two keys, as long as too few have been measured."""
LONGEST = 0.3
"""Seconds; no wait is longer."""
FAST_ANSWER = 0.2
"""Seconds; below this, answers are fast and the wait shrinks with them."""


class Typist:
    """Told of keys and answers with their times, in seconds of any clock."""

    def __init__(self) -> None:
        self._gaps: deque[float] = deque(maxlen=20)
        self._answers: deque[float] = deque(maxlen=10)
        self._last: float | None = None

    def key(self, now: float) -> None:
        if self._last is not None and 0 < now - self._last < GAP_LIMIT:
            self._gaps.append(now - self._last)
        self._last = now

    def answered(self, seconds: float) -> None:
        self._answers.append(seconds)

    @property
    def gap(self) -> float:
        """The median of the seconds between two keys."""
        return sorted(self._gaps)[len(self._gaps) // 2] if len(self._gaps) >= 5 else FIRST_GAP

    @property
    def answer(self) -> float:
        """The median of the seconds of an answer; before the first one, answers count as slow."""
        return sorted(self._answers)[len(self._answers) // 2] if self._answers else FAST_ANSWER

    def delay(self, head: str) -> float:
        """Seconds to wait after the key that ended the line's `head`."""
        # Within a word the next key is the likeliest; after `(`, `.` or an Enter people look at what is offered.
        within = 1.2 if head[-1:].isalnum() or head[-1:] == "_" else 0.6
        return min(LONGEST, within * self.gap * min(1.0, self.answer / FAST_ANSWER))
