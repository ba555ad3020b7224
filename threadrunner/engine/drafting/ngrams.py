"""What follows where a text repeats another: prompt lookup, after Saxena's "prompt lookup decoding" (2023).

A model that quotes, edits or answers in the words of its prompt repeats it token by token. Such a place is found by the
last few tokens, and is then followed for as long as the two agree.
"""

from __future__ import annotations

from collections.abc import Sequence

GRAM = 3
"""Tokens that must agree before a place is looked at."""
MAX_AGREED = 64
"""Tokens; how far back the agreement is counted. More says no more."""

Gram = tuple[int, ...]


class Passages:
    """Tokens that may be said again, and where each run of GRAM of them was last."""

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self.tokens: list[int] = []
        self._after: dict[Gram, int] = {}
        """A run -> the place behind it."""
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        begin = len(self.tokens)
        self.tokens += tokens
        # the run that ends the list is not there yet: it is what is looked up, and would find itself
        for end in range(max(begin, GRAM), len(self.tokens)):
            self._after[tuple(self.tokens[end - GRAM : end])] = end

    def find(self, gram: Gram) -> int | None:
        """The place behind the last such run, the list's very end excepted."""
        return self._after.get(gram)


class Follower:
    """Where one answer is in some passages, if it repeats them. Costs a comparison for each token, and a look in a
    dictionary where the answer left the passage."""

    def __init__(self, passages: Passages) -> None:
        self.passages = passages
        self.agreed = 0
        """Tokens before this one that agree with the passage; 0: it repeats none."""
        self._place = 0

    def follow(self, said: Sequence[int], end: int) -> None:
        """The answer's tokens, prompt included, have grown by one and are said[:end]. Passages that are the answer's
        own are extended afterwards, or the new token would be found in place of an earlier one."""
        tokens = self.passages.tokens
        if self.agreed and self._place < len(tokens) and tokens[self._place] == said[end - 1]:
            self._place += 1
            self.agreed = min(self.agreed + 1, MAX_AGREED)
            return
        place = self.passages.find(tuple(said[end - GRAM : end])) if end >= GRAM else None
        if place is None:
            self.agreed = 0
            return
        self._place = place
        self.agreed = self._agreement(said, end, place)

    def _agreement(self, said: Sequence[int], end: int, place: int) -> int:
        tokens, count = self.passages.tokens, GRAM
        limit = min(MAX_AGREED, end, place)
        while count < limit and said[end - 1 - count] == tokens[place - 1 - count]:
            count += 1
        return count

    def next(self, count: int) -> list[int]:
        """Up to `count` tokens that come next if the answer goes on repeating; none where it repeats nothing."""
        return self.passages.tokens[self._place : self._place + count] if self.agreed else []
