"""Which brackets are open where, and whether a place is inside a string or a comment: a language's lexer, as far as
brackets need one. Pure; one pass by a regular expression that has no backtracking over more than a line.

A quote that does not end on its line is a character like others (an apostrophe), unless it is on the text's last line:
there a string is being typed.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import NamedTuple

from threadrunner.syntax.languages import Language

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}
LINE_COMMENT = "\n"
"""What ends a comment that goes to the line's end."""


@dataclass(frozen=True, slots=True)
class Inside:
    """A string or a comment that a text ends in."""

    end: str
    """What ends it."""
    comment: bool = False
    one_line: bool = False
    """It cannot go on behind its line."""


class Opener(NamedTuple):
    """An opening bracket that is still open."""

    bracket: str
    at: int
    """Its offset; -1 for one that was open before the text."""
    base: int
    """Columns that its statement is indented by: those of its line, or where that line closes a bracket of an earlier
    one (`    int b) {`), those of the earlier line."""


class Closer(NamedTuple):
    """A closing bracket without an opener."""

    bracket: str
    at: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Brackets that found no partner, in the text's order; and what the text ends in."""

    opened: tuple[Opener, ...]
    missing: tuple[Closer, ...]
    inside: Inside | None = None


def scan(text: str, language: Language, opened: tuple[Opener, ...] = (), inside: Inside | None = None) -> Scan:
    """`opened` are the brackets that are open before the text, `inside` what it begins in."""
    found = _Found(text, [opener._replace(at=-1) for opener in opened])
    at, inside = _leave(text, 0, inside)
    pattern, ends = _lexer(language)
    while inside is None and (match := pattern.search(text, at)) is not None:
        at = match.end()
        sign = match[0]
        kind = match.lastgroup
        if kind == "bracket":
            found.add(sign, match.start())
        elif kind == "quote":
            if text.find("\n", at) < 0:
                inside = Inside(sign, one_line=True)
        elif kind in ("block", "long", "line"):
            at, inside = _leave(text, at, Inside(ends[sign], comment=kind != "long"))
    return Scan(tuple(found.stack), tuple(found.missing), inside)


class _Found:
    """The brackets of a text, one after another."""

    def __init__(self, text: str, stack: list[Opener]) -> None:
        self.stack = stack
        self.missing: list[Closer] = []
        self._text = text
        self._line = -1
        self._seen = 0
        self._base = 0

    def add(self, bracket: str, at: int) -> None:
        # from the last bracket on: a line may be the whole text
        if self._line < 0 or (self._text.rfind("\n", self._seen, at)) >= 0:
            self._line = self._text.rfind("\n", 0, at) + 1
            self._base = indentation(self._text, self._line)
        self._seen = at
        if bracket in OPENERS:
            self.stack.append(Opener(bracket, at, self._base))
            return
        partner = CLOSERS[bracket]
        # A closer of another kind than the last opener closes the nearest one of its own kind, if there is one: those
        # between them were left open by what is being written.
        near = next((i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i].bracket == partner), None)
        if near is not None:
            if self.stack[near].at < self._line:
                self._base = self.stack[near].base
            del self.stack[near:]
        else:
            self.missing.append(Closer(bracket, at))


def indentation(text: str, begin: int) -> int:
    """Of the line that begins there, in characters."""
    at = begin
    while text[at : at + 1] in (" ", "\t"):
        at += 1
    return at - begin


def _leave(text: str, at: int, inside: Inside | None) -> tuple[int, Inside | None]:
    """(offset behind the string or comment, None), or (the text's end, what it is still inside of)."""
    if inside is None:
        return at, None
    if inside.comment:
        end = text.find(inside.end, at)
        return (end + len(inside.end) if inside.end != LINE_COMMENT else end, None) if end >= 0 else (len(text), inside)
    closed = string_end(text, inside.end, at)
    if closed is not None:
        return closed, None
    line_end = text.find("\n", at) if inside.one_line else -1
    return (line_end, None) if line_end >= 0 else (len(text), inside)


def string_end(text: str, quote: str, at: int = 0) -> int | None:
    """The offset behind the end of a string whose content begins at `at`; None where it does not end."""
    while (end := text.find(quote, at)) >= 0:
        escapes = end - len(text[at:end].rstrip("\\")) - at
        if escapes % 2 == 0:
            return end + len(quote)
        at = end + 1
    return None


def string_ends(line: str, quote: str) -> int:
    """How often the quote stands in the line, not counting those behind a backslash: an odd number ends a string that
    was open before it, an even one is of strings of its own."""
    count, end = 0, string_end(line, quote)
    while end is not None:
        count, end = count + 1, string_end(line, quote, end)
    return count


@functools.cache
def _lexer(language: Language) -> tuple[re.Pattern[str], dict[str, str]]:
    """The expression that finds what matters in code, and what ends each beginning of a string or a comment."""
    ends: dict[str, str] = dict.fromkeys(language.line_comments, LINE_COMMENT)
    ends.update(language.block_comments)
    ends.update(language.long_strings)
    parts: list[str] = [f"(?P<character>{pattern})" for pattern in language.characters[:1]]
    parts += [f"(?:{pattern})" for pattern in language.characters[1:]]
    parts += [f"(?P<long>{_any(begin for begin, _ in language.long_strings)})"] if language.long_strings else []
    parts += [f"(?P<block>{_any(begin for begin, _ in language.block_comments)})"] if language.block_comments else []
    parts += [_line_comment(language.line_comments)] if language.line_comments else []
    # a whole string of one line has no group: it is passed over
    parts += [rf"{quote}(?:[^\\\n{quote}]|\\.)*{quote}" for quote in language.quotes]
    parts += [f"(?P<quote>[{re.escape(language.quotes)}])"] if language.quotes else []
    parts.append(r"(?P<bracket>[()\[\]{}])")
    return re.compile("|".join(parts), re.MULTILINE), ends


def _any(signs: object) -> str:
    return "|".join(map(re.escape, sorted(signs, key=len, reverse=True)))  # type: ignore[call-overload]


def _line_comment(signs: tuple[str, ...]) -> str:
    """A `#` within a word is none: `$#`, `a#b`, `#{`."""
    return "(?P<line>" + "|".join(r"(?<![\w$&{])#(?!\{)" if sign == "#" else re.escape(sign) for sign in signs) + ")"
