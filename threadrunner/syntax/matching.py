"""Which openers before a cursor belong to which closers behind it, where only a part of the file is known. Pure.

Kinds alone do not say it: `}}` behind two braces may be an outer pair's. So a closer that begins its line has to be
indented as the statement of its opener, an opener that hangs at the end of a line which is indented less than all that
is known behind the cursor is taken to be closed farther down, and in Lisp an opener is open at a line's beginning if it
stands left of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from threadrunner.syntax.languages import Language
from threadrunner.syntax.scan import CLOSERS, OPENERS, Closer, Inside, Opener, indentation, scan

MOST = 200
"""Openers that are looked at, the innermost ones."""


class Match(NamedTuple):
    """What a text at the cursor has to do for the brackets around it to come in pairs."""

    free: int
    """How many openers before the cursor, the innermost, are for it to close: as few as possible."""
    to_open: int
    """How many closers behind the cursor, the first ones, wait for it to open."""
    sure: bool
    """Kinds and indentation agree, of all that is known."""


def match(
    prefix: str, suffix: str, language: Language, opened: tuple[Opener, ...], behind: str, inside: Inside | None
) -> Match:
    """`opened` are the brackets that are open at the cursor; `behind` is the suffix from where it can be scanned,
    beginning `inside` a string or comment."""
    tail, newline, below = suffix.partition("\n")
    opened = opened[-MOST:]
    if language.blocks == "lists":
        return _match_lists(opened, prefix, tail, below, language, inside)
    if not language.paired:
        behind = behind.partition("\n")[0]
    closers = _of_known(scan(behind, language, inside=inside).missing, behind, opened, prefix)
    closing = _closing(behind, closers, language)
    depth = indentation(prefix, prefix.rfind("\n") + 1)
    cut = not newline or _begins_a_body(tail)
    if not language.paired:
        here = tuple(opener for opener in opened if opener.at > prefix.rfind("\n"))
        return _match(here, closing, 0, depth, len(here) if cut else 0)._replace(sure=bool(closers))
    local = _local(opened, prefix, suffix)
    hanging = next((n for n, opener in enumerate(local) if not _hangs(opener, prefix, suffix)), len(local))
    return _match(local, closing, _written(behind, closers, prefix), depth, len(local) if cut else hanging)


_LABEL = re.compile(r"\}[ \t]*(?://|/\*)[ \t]*(?:end (?:of )?)?(namespace|extern)\b")


def _of_known(closers: Sequence[Closer], behind: str, opened: Sequence[Opener], prefix: str) -> Sequence[Closer]:
    """Those before the first that says, in a comment, of what is not open here: `} // namespace detail` closes no
    function, though both are indented alike, and its opener is farther up than is known."""
    for number, closer in enumerate(closers):
        label = _LABEL.match(behind, closer.at)
        if label and not any(label[1] in _line_up_to(prefix, opener.at) for opener in opened):
            return closers[:number]
    return closers


def _begins_a_body(tail: str) -> bool:
    """Whether a function begins in the rest of the line, `) => {`, within brackets that are closed behind its body."""
    return tail.rstrip()[-1:] in tuple(OPENERS) and ("=>" in tail or "func" in tail)


def _match_lists(
    opened: tuple[Opener, ...], prefix: str, tail: str, below: str, language: Language, inside: Inside | None
) -> Match:
    """As `_match`, in Lisp: what is open at the next line's beginning are the brackets that stand left of it."""
    rest = scan(tail, language, inside=inside)
    lines = [line for line in below.split("\n") if line.strip() and not line.lstrip().startswith(";")]
    column = _columns(lines[0]) if lines else 0
    ours = sum(len(_line_up_to(prefix, opener.at).expandtabs(8)) >= column for opener in opened)
    free = ours - len(rest.missing)
    if free > 0 and rest.missing and not lines:
        free = 0  # a form that is being written at the file's end: what is missing is the last of its closers
    # brackets that are open before all that is known stand left of all its lines
    known = prefix.startswith("(") or column >= min(map(_columns, filter(str.strip, prefix.split("\n"))), default=0)
    return Match(max(free, 0), max(-free, 0), known and (rest.inside is None or rest.inside.comment))


def _line_up_to(text: str, at: int) -> str:
    return text[text.rfind("\n", 0, at) + 1 : at]


def _columns(line: str) -> int:
    return len(line[: indentation(line, 0)].expandtabs(8))


def _local(opened: tuple[Opener, ...], prefix: str, suffix: str) -> tuple[Opener, ...]:
    """Those that are closed at the cursor or within what is known behind it; the others hang at the end of a line that
    is indented less than every line below the cursor's."""
    lines = [line for line in suffix.split("\n")[1:] if line.strip()]
    below = min((indentation(line, 0) for line in lines), default=0)
    for number, opener in enumerate(opened):
        if opener.base >= below or not _hangs(opener, prefix, suffix):
            return opened[number:]
    return ()


def _hangs(opener: Opener, prefix: str, suffix: str) -> bool:
    """Whether its content begins on the next line."""
    end = prefix.find("\n", opener.at)
    line = prefix[opener.at : end] if end >= 0 else prefix[opener.at :] + suffix.partition("\n")[0]
    return line.rstrip()[-1:] in ("(", "[", "{") and (end >= 0 or not suffix.partition("\n")[0].strip())


@dataclass(frozen=True, slots=True)
class _Closing:
    """A closer behind the cursor: its opener's kind, and the columns that its line is indented by if it begins it."""

    bracket: str
    indent: int | None

    def closes(self, opener: Opener, strictly: bool) -> bool:
        same = not strictly or self.indent is None or self.indent == opener.base
        return self.bracket == opener.bracket and same


def _closing(behind: str, closers: Sequence[Closer], language: Language) -> list[_Closing]:
    found = []
    for bracket, at in closers:
        begin = behind.rfind("\n", 0, at) + 1
        first = begin > 0 and language.blocks == "braces" and not behind[begin:at].strip()
        found.append(_Closing(CLOSERS[bracket], indentation(behind, begin) if first else None))
    return found


def _written(behind: str, closers: Sequence[Closer], prefix: str) -> int:
    """How many closers, the first ones, belong to openers that are known or to be written: they stand on lines that are
    indented at least as much as every line before the cursor."""
    above = min((indentation(line, 0) for line in prefix.split("\n") if line.strip()), default=0)
    head = indentation(prefix, prefix.rfind("\n") + 1)
    for number, (_, at) in enumerate(closers):
        begin = behind.rfind("\n", 0, at) + 1
        if (indentation(behind, begin) if begin else head) < above:
            return number
    return len(closers)


def _match(opened: Sequence[Opener], closing: Sequence[_Closing], written: int, depth: int, hanging: int) -> Match:
    """At least `written` closers have their openers before the cursor or at it; what is written there is indented by
    `depth`. The outermost `hanging` openers may be closed farther down than is known, where some are closed here."""
    deep = next((n for n, c in enumerate(closing) if c.indent is not None and c.indent < depth), len(closing))
    for strictly in (True, False):
        for free in range(len(opened) + 1):
            left = opened[: len(opened) - free][::-1]
            last = min(max(len(closing) - len(left), 0), deep)
            for to_open in range(max(written - len(left), 0), last + 1):
                rest = closing[to_open:]
                enough = len(left) <= len(rest) + (hanging if rest else 0)
                if enough and all(c.closes(o, strictly) for o, c in zip(left, rest, strict=False)):
                    return Match(free, to_open, strictly)
    return Match(len(opened), 0, False)
