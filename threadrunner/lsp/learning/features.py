"""A suggestion at its place, as numbers by which to guess whether it will be taken. Pure.

Each is about -1 to 1, so that all weights learn alike. They are arithmetic on what is there already, on the way of a
key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from threadrunner.lsp.suggest.text import CursorText
from threadrunner.syntax.languages import language_of

NAMES = (
    "always", "mean", "first", "least", "unknown", "length", "lines", "mid_line", "line_begin", "after_mark",
    "in_comment", "prose", "since_taken", "since_wrong", "file_rate", "misses_here", "new_words", "ends_open", "agreed",
)  # fmt: skip
"""In the order of the vector; the shipped prior and what is kept on disk name them too."""

LONG_AGO = 600.0
"""Seconds; what was longer ago, or never, counts as this."""
WORDS_SEEN = 1500
"""Characters before the cursor in which the suggestion's words are looked up."""

_WORD = re.compile(r"[^\W\d]\w{2,}")
PROSE = frozenset(("markdown", "plaintext", "latex", "tex", "restructuredtext", "asciidoc", "html", "git-commit"))

Scores = Sequence[tuple[str, float]]
"""An answer's tokens: the text of each and its log-probability."""


@dataclass(frozen=True)
class Habit:
    """What has just happened here: seconds since one was taken and since one was wrong, the share taken in this file,
    how many were wrong in a row on this line, and how many characters of this one were typed already."""

    since_taken: float = LONG_AGO
    since_wrong: float = LONG_AGO
    file_rate: float = 0.3
    misses_here: int = 0
    agreed: int = 0


def vector(text: str, at: CursorText, language: str, scores: Scores, habit: Habit) -> list[float]:
    """The numbers of NAMES for a text that would be shown at this place."""
    head = at.head
    first = first_line(text)
    logs = [log for _, log in spoken(first, scores)]
    known = bool(logs)
    seen = at.prefix[-WORDS_SEEN:]
    words = _WORD.findall(first[:200])
    fresh = sum(word not in seen for word in words) / len(words) if words else 0.0
    stripped = head.strip()
    comments = language_of(language).line_comments
    return [
        1.0,
        max(-2.0, sum(logs) / len(logs)) if known else 0.0,
        max(-3.0, logs[0]) / 1.5 if known else 0.0,
        max(-4.0, min(logs)) / 2 if known else 0.0,
        0.0 if known else 1.0,
        math.log1p(len(first.strip())) / 3 - 0.8,
        min(text.strip("\n").count("\n"), 8) / 4,
        1.0 if at.tail.strip() else 0.0,
        0.0 if stripped else 1.0,
        1.0 if stripped[-1:] in "(.,=[{:<" and stripped else 0.0,
        1.0 if stripped.startswith(comments) and comments else 0.0,
        1.0 if language in PROSE else 0.0,
        math.exp(-habit.since_taken / 10),
        math.exp(-habit.since_wrong / 10),
        2 * habit.file_rate - 0.6,
        min(habit.misses_here, 8) / 4,
        fresh,
        1.0 if first.rstrip().endswith(("(", "[", "{", ",", "=", "+")) else 0.0,
        min(habit.agreed, 8) / 8,
    ]


def first_line(text: str) -> str:
    """Up to the end of its first line that is not blank."""
    lead = len(text) - len(text.lstrip("\n \t"))
    end = text.find("\n", lead)
    return text if end < 0 else text[:end]


def spoken(text: str, scores: Scores) -> list[tuple[str, float]]:
    """The tokens that make this text, which is a part of what they say; none where it is not."""
    whole = "".join(token for token, _ in scores)
    begin = whole.find(text)
    if begin < 0 or not text:
        return []
    found, at = [], 0
    for token, log in scores:
        if at + len(token) > begin and at < begin + len(text):
            found.append((token, log))
        at += len(token)
    return found
