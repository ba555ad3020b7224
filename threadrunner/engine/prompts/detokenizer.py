"""Bytes of tokens to text that may be shown: whole characters, nothing that a stop may still take back."""

from __future__ import annotations

import codecs
from itertools import pairwise
from typing import Protocol


class Cutter(Protocol):
    """Finds where a text ends, by its content. Its methods give offsets in characters."""

    def cut(self, text: str) -> int | None:
        """Where the text must end, or None."""

    def safe(self, text: str) -> int:
        """The part of the text that no later piece can cut off."""

    def trim(self, text: str, cut: bool, /) -> int:
        """Where a text that nothing has cut should end. `cut`: its tokens ran out; else it ended by itself."""


class StopStrings:
    """Ends a text before the first of these strings."""

    def __init__(self, stops: list[str]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops))
        self._searched = 0
        self.said: str | None = None
        """The one that was found first in the text."""

    def cut(self, text: str) -> int | None:
        begin = max(0, self._searched - self._longest + 1)
        found = [(at, stop) for stop in self._stops if (at := text.find(stop, begin)) >= 0]
        self._searched = len(text)
        end, self.said = min(found, default=(None, None))
        return end

    def trim(self, text: str, _cut: bool) -> int:
        return len(text)

    def safe(self, text: str) -> int:
        for begin in range(max(0, len(text) - self._longest + 1), len(text)):
            if any(stop.startswith(text[begin:]) for stop in self._stops):
                return begin
        return len(text)


class Detokenizer:
    """The text of one candidate, without its first `skip` bytes (what token healing made the model repeat)."""

    def __init__(self, stops: list[str] | None = None, cutters: list[Cutter] | None = None, skip: int = 0) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._whole = True
        """Whether no character is begun."""
        self._stops = StopStrings(stops) if stops else None
        self._cutters: list[Cutter] = [*([self._stops] if self._stops else []), *(cutters or [])]
        self._skip = skip
        self._shown = 0
        self.text = ""
        self.stopped = False
        self._cut = False

    @property
    def stop(self) -> str | None:
        """The stop string that has ended the text."""
        return self._stops.said if self._stops else None

    def takes(self, data: bytes) -> bool:
        """Whether `data`, if it comes next, is no part of the text but of what the model had to say again."""
        return 0 < len(data) <= self._skip

    def add(self, data: bytes) -> str:
        """What may be shown once `data` is there too. Sets `stopped` when the text has ended."""
        return self.say(self.decode(data))

    def decode(self, data: bytes) -> str:
        """The characters that `data` completes."""
        if self._skip:
            taken = min(self._skip, len(data))
            self._skip -= taken
            data = data[taken:]
        if self._whole and data.isascii():  # the decoder is Python
            return data.decode()
        piece = self._decoder.decode(data)
        self._whole = not self._decoder.getstate()[0]
        return piece

    def say(self, piece: str) -> str:
        """As `add`, of characters: for those who leave out what is no text."""
        if not piece:
            return ""
        self.text += piece
        if not self._cutters:
            self._shown = len(self.text)
            return piece
        ends = [end for cutter in self._cutters if (end := cutter.cut(self.text)) is not None]
        if ends:
            self.stopped = self._cut = True
            self.text = self.text[: max(min(ends), self._shown)]
            return self._show(len(self.text))
        return self._show(min(cutter.safe(self.text) for cutter in self._cutters))

    def finish(self, cut: bool = False) -> str:
        """What was held back and no stop removed. Bytes of a character that never became whole are dropped. `cut`: the
        tokens ran out."""
        end = min((cutter.trim(self.text, cut) for cutter in self._cutters), default=len(self.text))
        self._cut = max(end, self._shown) < len(self.text)
        self.text = self.text[: max(end, self._shown)]
        return self._show(len(self.text))

    def parts(self, begins: list[int]) -> list[str]:
        """The text of each token, told how long the text was before it; they add up to the text. A character belongs to
        the token that completes it. Tokens behind a cut have none and are left out."""
        kept = [begin for begin in begins if begin < len(self.text) or not self._cut]
        return [self.text[begin:end] for begin, end in pairwise([*kept, len(self.text)])]

    def _show(self, end: int) -> str:
        piece = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return piece
