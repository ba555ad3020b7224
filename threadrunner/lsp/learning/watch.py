"""What becomes of suggestions, from what the editor changes: few editors tell. Pure.

A suggestion is right when a piece of it arrives at once, or when its first line is typed; it is wrong at the first
character that is another. Where the cursor goes elsewhere, or the next key comes sooner than it can be seen, it is
neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threadrunner.lsp.learning.features import first_line
from threadrunner.lsp.suggest.documents import Document, Place

PIECE = 2
"""Characters, blanks aside, that arrive in one change: fewer are a key, as Enter with an indentation is."""
_PAIRS = ("()", "[]", "{}", '""', "''", "``")
"""What an editor makes of one key."""

GLANCE = 0.3
"""Seconds that a suggestion must stand to count as seen: some 50 ms until it is drawn, and 250 ms from seeing something
to not pressing the key that was meant. Roo takes 300 ms too; Cody takes 750 ms, which would leave out those that are
refused at the first look."""

Became = Literal["taken", "typed", "wrong", "gone"]
"""`typed`: its whole first line, by hand."""


@dataclass
class Open:
    """A suggestion whose end is not known yet."""

    id: str
    text: str
    origin: Place
    tail: str
    """The rest of the line behind the cursor, when it was made."""
    lines: int
    """Of the document, then."""
    features: list[float]
    chance: float
    shown: bool
    since: float
    """When it was shown, in seconds of the learner's clock, or would have been."""
    typed: int = 0
    """Characters of it that are there."""


def became(one: Open, document: Document, edited: Place | None) -> Became | None:
    """What a change has made of it; None: it is still open, `typed` tells how far it is there. `edited` is where the
    change ended, if that is known."""
    now = _since(one, document, edited)
    if now is None:
        return "gone"
    if now[-2:] in _PAIRS and not one.text.startswith(now):
        now = now[:-1]
    common = _common(now, one.text)
    if common < len(now) and common < len(one.text):
        return "wrong"
    gained, one_typed = one.text[one.typed : common], one.typed
    one.typed = common
    if common < one_typed:
        return None  # taken back; it may be typed again
    if len("".join(gained.split())) >= PIECE:
        return "taken"
    return "typed" if common >= len(first_line(one.text)) else None


def is_outcome(end: Became, stood: float, glance: float = GLANCE) -> bool:
    """Whether this end says anything of the suggestion, which stood for so many seconds: what was typed before it could
    be seen is no answer to it. To take one is always an answer. One that was held back is judged as if it were shown,
    or else fast typing would make what is held back look worse than what is not."""
    return end == "taken" or (end != "gone" and stood >= glance)


def _since(one: Open, document: Document, edited: Place | None) -> str | None:
    """What stands between the suggestion's place and the text that was behind it; None: that is gone."""
    line = one.origin.line + len(document.lines) - one.lines
    if line < one.origin.line or (edited is not None and not one.origin.line <= edited.line <= line):
        return None
    end = len(document.lines[line].rstrip("\r\n")) - len(one.tail)
    if end < (one.origin.column if line == one.origin.line else 0):
        return None
    place = Place(line, end)
    if document.tail(place) != one.tail:
        return None
    return document.between(one.origin, place).replace("\r\n", "\n")


def _common(a: str, b: str) -> int:
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size
    return next(i for i in range(size) if a[i] != b[i])
