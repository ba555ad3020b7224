"""What surrounds a cursor, and what a text there may close: brackets, strings and comments, by counting. Pure.

`f(g(|))` closes nothing, since both closers stand behind the cursor; `for (|` above a body that ends with `}` closes
one bracket, and opens another.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from threadrunner.syntax.languages import Language
from threadrunner.syntax.matching import match
from threadrunner.syntax.scan import (
    CLOSERS,
    LINE_COMMENT,
    OPENERS,
    Inside,
    Opener,
    indentation,
    scan,
    string_end,
    string_ends,
)

NEAR_BEFORE, NEAR_BEHIND = 6_000, 2_000
"""Characters around a cursor that are looked at: clients may send whole files."""
LONGEST = 4_000
"""Characters of a text whose closers are counted: it is looked at with each token."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What surrounds a cursor, and what a text there may close."""

    language: Language
    prefix: str
    suffix: str
    opened: tuple[Opener, ...]
    """Open at the cursor, the outermost first."""
    free: int
    """How many of them, the innermost, are for the text to close."""
    to_open: int
    """How many closers behind the cursor, the first ones, wait for the text to open."""
    sure: bool
    """All that is open before the cursor and closed behind it was found to agree."""
    inside: Inside | None = None
    """The string or comment that the cursor is in."""
    ends_inside: bool = False
    """That string ends behind the cursor, on its line."""
    strays: int = 0
    """Closers before the cursor that close nothing which is known."""

    @property
    def counted(self) -> bool:
        """Whether brackets say anything here: not in comments, or in strings that may go on for lines."""
        return self.inside is None or self.inside.one_line

    def excess(self, text: str) -> int | None:
        """The offset of the first closer in `text`, a bracket or a quote, that is behind the cursor already; None for
        none. A bracket is fine where its line opens as many again (`} else {`)."""
        text = text[:LONGEST]
        if self.inside is not None and self.ends_inside:
            end = string_end(text, self.inside.end)
            own = string_ends(text.partition("\n")[0], self.inside.end) % 2 == 0  # `a', 'b` in `print('|')`
            return None if end is None or own else end - len(self.inside.end)
        if not self.counted:
            return self._excess_behind(text)
        if not self.sure and not self.language.guessed:
            return None
        begin, opened, inside = 0, self.opened[len(self.opened) - self.free :], self.inside
        while missing := scan(text[begin:], self.language, opened, inside).missing:
            where = begin + missing[0].at
            if not begin and (behind := self._closes_the_block(text, where)):
                begin, opened, inside = behind, (), None
                continue
            end = text.find("\n", where)
            again = scan(text[where + 1 : end if end >= 0 else len(text)], self.language).opened
            if all(opener.bracket != CLOSERS[text[where]] for opener in again):
                return where
            if end < 0:
                break
            begin, opened, inside = end, again[1:], None
        return None

    def _excess_behind(self, text: str) -> int | None:
        """The same for a text that ends the string which the cursor is in: brackets count from there on."""
        inside = self.inside
        end = string_end(text, inside.end) if inside is not None and not inside.comment else None
        found = self.after(text[:end]).excess(text[end:]) if end is not None else None
        return None if end is None or found is None else end + found

    def _closes_the_block(self, text: str, where: int) -> int:
        """The offset behind the closer, if it is what an empty line begins with, as far in as the innermost statement,
        and none stands as far in on the next line: then the one behind the cursor is an outer block's. 0 if not so.

        Where all that is known is farther in than the closer, its opener is above that, and so may be those of the
        closers behind it (`});`)."""
        head, below = self.prefix[self.prefix.rfind("\n") + 1 :], self.suffix.partition("\n")[2]
        if (head + text[:where] + self.suffix.partition("\n")[0]).strip() or "\n" in text[:where]:
            return 0
        next_line = next((line for line in below.split("\n") if line.strip()), "")
        column = len(head) + where
        if not next_line or (next_line.lstrip()[0] in CLOSERS and indentation(next_line, 0) >= column):
            return 0
        inner = self.opened[len(self.opened) - self.free - 1 :][:1] if self.free < len(self.opened) else ()
        if any(OPENERS[o.bracket] == text[where] and o.base == column for o in inner):
            return where + 1
        above = [indentation(line, 0) for line in self.prefix.split("\n")[:-1] if line.strip()]
        unknown = not self.opened and bool(above) and min(above) > column
        return len(text) - len(text[where:].lstrip(")]}")) if unknown else 0

    def opened_enough(self, text: str) -> int | None:
        """The offset behind the bracket, at a line's end, whose content stands behind the cursor; None for none."""
        if not self.to_open or not self.sure or not self.counted:
            return None
        end = text.find("\n")
        while end >= 0:
            if text[:end].rstrip()[-1:] in tuple(OPENERS) and self.after(text[:end]).faults == 0:
                return end
            end = text.find("\n", end + 1)
        return None

    def _comment_goes_on(self, end: str) -> bool:
        """Whether the comment that the cursor is in ends behind it, and not before the next one begins."""
        ours = self.suffix.find(end)
        if ours < 0:
            return self.suffix.partition("\n")[2].lstrip().startswith("*")
        begins = (self.suffix.find(begin) for begin, _ in self.language.block_comments)
        return ours < min((at for at in begins if at >= 0), default=ours + 1)

    def comment_end(self, text: str) -> int | None:
        """Where a text that goes on with the cursor's comment has left it: before its first line without a comment's
        sign, or before the end of a comment that ends behind the cursor; None for nowhere."""
        inside = self.inside
        if inside is None or not inside.comment:
            return None
        if inside.end != LINE_COMMENT:
            end = text.find(inside.end)
            return max(text.rfind("\n", 0, end), 0) if end >= 0 and self._comment_goes_on(inside.end) else None
        if text.startswith("\n"):
            return None
        end, signs = text.find("\n"), self.language.line_comments
        while end >= 0:
            line, newline, _ = text[end + 1 :].partition("\n")
            line = line.lstrip()
            half = not newline and any(sign.startswith(line) for sign in signs)
            if line and not half and not line.startswith(signs):
                return end
            end = text.find("\n", end + 1)
        return None

    @property
    def faults(self) -> int | None:
        """How many brackets have to be closed and opened at the cursor, or a string ended, for the file to be sound;
        None where that cannot be told."""
        if not self.sure or not self.language.paired or not (self.counted or self.ends_inside):
            return None
        open_string = self.inside is not None and self.inside.one_line and not self.ends_inside
        return self.free + self.to_open + open_string

    def takes(self, text: str) -> bool:
        """Whether the file is sound with the text, whatever it closes on its way."""
        after = self.after(text)
        return after.faults == 0 and after.ends_inside == self.ends_inside and after.strays == self.strays

    def after(self, text: str) -> Surroundings:
        """The same cursor behind a text."""
        return surroundings(self.prefix + text, self.suffix, self.language)


def surroundings(prefix: str, suffix: str, language: Language) -> Surroundings:
    return _surroundings(prefix[-NEAR_BEFORE:], suffix[:NEAR_BEHIND], language)


@functools.lru_cache(maxsize=64)
def _surroundings(prefix: str, suffix: str, language: Language) -> Surroundings:
    if language.blocks == "lists":
        prefix = prefix[_top_level(prefix) :]
    before = scan(prefix, language)
    inside = before.inside
    tail, newline, below = suffix.partition("\n")
    ends_inside = inside is not None and not inside.comment and string_ends(tail, inside.end) % 2 == 1
    behind, behind_in = suffix, inside
    if inside is not None and inside.one_line and not ends_inside:
        behind, behind_in = newline + below, None  # the text must end the string
    found = match(prefix, suffix, language, before.opened, behind, behind_in)
    return Surroundings(language, prefix, suffix, before.opened, *found, inside, ends_inside, len(before.missing))


def _top_level(prefix: str) -> int:
    """The last bracket at a line's beginning: in Lisp that is a form's, and what is before it may begin in a string."""
    return max(prefix.rfind("\n(") + 1, 0)
