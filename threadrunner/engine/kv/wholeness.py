"""Whether the cells of a sequence are all that its next token looks at: what cannot be cut may have moved on."""

from __future__ import annotations

from typing import Protocol


class Ends(Protocol):
    """Which positions a sequence has (llama.Context is one)."""

    def first_position(self, seq: int) -> int:
        """The first that is whole in all layers; -1 for none."""

    def last_position(self, seq: int) -> int:
        """-1 for none."""


class Wholeness:
    """Of sequences whose model has a window or a recurrent state; those of others are always whole."""

    def __init__(self, memory: Ends, *, recurrent: bool, window: int) -> None:
        """As Cells has them."""
        self._memory = memory
        self._recurrent = recurrent
        self._window = window

    def source(self, length: int, holders: list[int]) -> int | None:
        """The most recently used of those that hold so many tokens which can be forked after them: not one whose window
        has moved on, or whose recurrent state has."""
        if not length:
            return None
        if self._recurrent:
            return next((s for s in reversed(holders) if self._memory.last_position(s) == length - 1), None)
        if not self._window:
            return holders[-1]
        return next((s for s in reversed(holders) if self.goes_on(s, length)), None)

    def goes_on(self, seq: int, length: int) -> bool:
        """Whether a sequence of a windowed model has all that the token after so many looks at."""
        return self._is_whole(seq, max(0, length - self._window))

    def may_share(self, seq: int, source: int, begin: int) -> bool:
        """A windowed cache overwrites what has left the window; from `begin` on, have both lost nothing? With the
        source's cells before a part that it lost itself, `seq` would look whole from its first position on. Nothing can
        be taken out of a sequence with a recurrent state."""
        if self._recurrent:
            return False
        if not self._window:
            return True
        return self._is_whole(source, begin) and self._is_whole(seq, begin)

    def _is_whole(self, seq: int, position: int) -> bool:
        """Whether it has all of its cells from this position on."""
        return 0 <= self._memory.first_position(seq) <= position
