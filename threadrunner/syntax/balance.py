"""Which brackets a text at a cursor may close: those that are open before it and that nothing behind it closes. Pure.

`f(g(|))` closes none, since both closers stand behind the cursor; `for (|` above a body that ends with `}` closes one,
and opens another. Only a part of the file may be known, so kinds are not all that is compared: a closer that begins its
line is indented as the statement of its opener, and an opener at the end of a line that is indented less than all that
is known behind the cursor is taken to be closed farther down.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from threadrunner.syntax.languages import Language
from threadrunner.syntax.scan import CLOSERS, Closer, Inside, Opener, indentation, scan, string_end


@dataclass(frozen=True, slots=True)
class Room:
    """What surrounds a cursor, and what a text there may close."""

    language: Language
    prefix: str
    suffix: str
    opened: tuple[Opener, ...]
    """Open at the cursor, the outermost first."""
    free: int
    """How many of them, the innermost, may be closed by what is written at the cursor."""
    to_open: int
    """How many closers behind the cursor, the first ones, wait for what is to be written there."""
    sure: bool
    """All that is open before the cursor and closed behind it was found to agree."""
    inside: Inside | None = None
    """The string or comment that the cursor is in."""
    ends_inside: bool = False
    """That string ends behind the cursor, on its line."""

    @property
    def counted(self) -> bool:
        """Whether brackets say anything here: not in prose, in comments, or in strings that may go on for lines."""
        return self.language.brackets and (self.inside is None or self.inside.one_line)

    def excess(self, text: str) -> int | None:
        """The offset of the first closer in `text`, a bracket or a quote, that is behind the cursor already; None for
        none. A bracket is fine where its line opens as many again (`} else {`)."""
        if self.inside is not None and self.ends_inside:
            end = string_end(text, self.inside.end)
            return None if end is None else end - len(self.inside.end)
        if not self.counted or (self.language.blocks == "lists" and not self.sure):
            return None
        found = scan(text, self.language, self.opened[len(self.opened) - self.free :], self.inside)
        for _, where in found.missing:
            end = text.find("\n", where)
            line = text[where + 1 : end if end >= 0 else len(text)]
            if not scan(line, self.language).opened:
                return where
        return None

    @property
    def faults(self) -> int:
        """How many brackets have to be closed and opened at the cursor, or a string ended, for the file to be sound;
        0 also where that cannot be told."""
        if not self.sure or not (self.counted or self.ends_inside):
            return 0
        open_string = self.inside is not None and self.inside.one_line and not self.ends_inside
        return self.free + self.to_open + open_string

    def after(self, text: str) -> Room:
        """The same cursor behind a text."""
        return room(self.prefix + text, self.suffix, self.language)


def room(prefix: str, suffix: str, language: Language) -> Room:
    if language.blocks == "lists":
        prefix = prefix[_top_level(prefix) :]
    before = scan(prefix, language)
    inside = before.inside
    tail, newline, below = suffix.partition("\n")
    ends_inside = inside is not None and not inside.comment and string_end(tail, inside.end) is not None
    behind = suffix
    if inside is not None and inside.one_line and not ends_inside:
        behind, inside_behind = newline + below, None  # the text must end the string
    else:
        inside_behind = inside
    if language.blocks == "lists":
        free, to_open, sure = _match_lists(before.opened, prefix, tail, below, language, inside_behind)
    else:
        closers = scan(behind, language, inside=inside_behind).missing
        local = _local(before.opened, prefix, suffix)
        closing = _closing(behind, closers, language)
        # a line that is longer than what is known of it: its end is as unknown as the rest of the file
        depth = indentation(prefix, prefix.rfind("\n") + 1)
        free, to_open, sure = _match(local, closing, _written(behind, closers, prefix), depth, cut=not newline)
    return Room(language, prefix, suffix, before.opened, free, to_open, sure, inside, ends_inside)


def _match_lists(
    opened: tuple[Opener, ...], prefix: str, tail: str, below: str, language: Language, inside: Inside | None
) -> tuple[int, int, bool]:
    """As `_match`, in Lisp: what is open at the next line's beginning are the brackets that stand left of it."""
    rest = scan(tail, language, inside=inside)
    lines = (line for line in below.split("\n") if line.strip())
    column = next((indentation(line, 0) for line in lines if not line.lstrip().startswith(";")), 0)
    ours = sum(opener.at - (prefix.rfind("\n", 0, opener.at) + 1) >= column for opener in opened)
    free = ours - len(rest.missing)
    # brackets that are open before all that is known stand left of all its lines
    known = prefix.startswith("(") or column > min(indentation(line, 0) for line in prefix.split("\n") if line.strip())
    return max(free, 0), max(-free, 0), known and (rest.inside is None or rest.inside.comment)


def _top_level(prefix: str) -> int:
    """The last bracket at a line's beginning: in Lisp that is a form's, and what is before it may begin in a string."""
    return max(prefix.rfind("\n(") + 1, 0)


def _local(opened: tuple[Opener, ...], prefix: str, suffix: str) -> tuple[Opener, ...]:
    """Those that are closed at the cursor or within what is known behind it; the others hang at the end of a line that
    is indented less than every line below the cursor's."""
    lines = [line for line in suffix.split("\n")[1:] if line.strip()]
    below = min((indentation(line, 0) for line in lines), default=0)
    for number, opener in enumerate(opened):
        end = prefix.find("\n", opener.at)
        line = prefix[opener.at : end] if end >= 0 else prefix[opener.at :] + suffix.partition("\n")[0]
        hangs = line.rstrip()[-1:] in ("(", "[", "{") and (end >= 0 or not suffix.partition("\n")[0].strip())
        if opener.base >= below or not hangs:
            return opened[number:]
    return ()


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
    above = min(indentation(line, 0) for line in prefix.split("\n") if line.strip() or line is prefix)
    head = indentation(prefix, prefix.rfind("\n") + 1)
    for number, (_, at) in enumerate(closers):
        begin = behind.rfind("\n", 0, at) + 1
        if (indentation(behind, begin) if begin else head) < above:
            return number
    return len(closers)


def _match(
    opened: Sequence[Opener], closing: Sequence[_Closing], written: int, depth: int, cut: bool
) -> tuple[int, int, bool]:
    """(the fewest innermost openers without which the rest fits the closers behind the cursor, how many of the first
    closers wait for an opener to be written, whether they fit by indentation too). At least `written` closers have
    their openers before the cursor or to be written; what is written is indented by `depth`."""
    deep = next((n for n, c in enumerate(closing) if c.indent is not None and c.indent < depth), len(closing))
    for strictly in (True, False):
        for free in range(len(opened) + 1):
            left = opened[: len(opened) - free][::-1]
            last = min(max(len(closing) - len(left), 0), deep)
            for to_open in range(max(written - len(left), 0), last + 1):
                rest = closing[to_open:]
                enough = len(left) <= len(rest) or (cut and rest)
                if enough and all(c.closes(o, strictly) for o, c in zip(left, rest, strict=False)):
                    return free, to_open, strictly
    return len(opened), 0, False


room = functools.lru_cache(maxsize=64)(room)
