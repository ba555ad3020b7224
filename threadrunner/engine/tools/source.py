"""Text that arrives in pieces, for readers written as if all of it were there.

A reader is a generator: it yields where it needs more text, and goes on when there is some. It reads from `at` on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
Reading = Generator[None, None, T]
"""Gives T in the end; each yield asks for more text."""

_STRUCTURE = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[,}\]\s]")
_BLANKS = re.compile(r"\s*")


class Malformed(Exception):
    """This is not what the reader reads; the text is no call."""


class TextEnded(Exception):
    """The answer ended within what is being read."""


class TextSource:
    """See the module. Offsets are in characters from the answer's beginning."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False

    def more(self) -> Reading[None]:
        """Raises TextEnded when there is no more."""
        if self.ended:
            raise TextEnded
        yield

    def blanks(self) -> Reading[None]:
        """Past all white space; the text may end in it."""
        while True:
            found = _BLANKS.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or self.ended:
                return
            yield

    def next_char(self) -> Reading[str]:
        """The next character, which is not taken."""
        while self.at >= len(self.text):
            yield from self.more()
        return self.text[self.at]

    def optional(self, literal: str) -> Reading[bool]:
        """Take it if it comes next."""
        while not self.text.startswith(literal, self.at):
            here = self.text[self.at : self.at + len(literal)]
            if not literal.startswith(here) or self.ended:
                return False
            yield
        self.at += len(literal)
        return True

    def literal(self, literal: str) -> Reading[None]:
        """Raises Malformed where another text comes, TextEnded where it ends before."""
        if not (yield from self.optional(literal)):
            if self.ended and literal.startswith(self.text[self.at :]):
                raise TextEnded
            raise Malformed(f"no {literal!r}")

    def word(self, pattern: re.Pattern[str]) -> Reading[str]:
        """As much as the pattern matches. Raises Malformed where that is nothing."""
        while True:
            found = pattern.match(self.text, self.at)
            end = found.end() if found else self.at
            if end < len(self.text) or self.ended:
                break
            yield
        if end == self.at:
            raise (TextEnded if self.at >= len(self.text) else Malformed)
        word = self.text[self.at : end]
        self.at = end
        return word

    def until(self, literal: str) -> Reading[str]:
        """The text before `literal`, both taken. Raises TextEnded, with nothing taken, where it does not come."""
        begin = searched = self.at
        while (found := self.text.find(literal, searched)) < 0:
            searched = max(begin, len(self.text) - len(literal) + 1)
            yield from self.more()
        self.at = found + len(literal)
        return self.text[begin:found]

    def json(self, tell: Callable[[str], None] | None = None) -> Reading[str]:
        """A JSON value's text; `tell` hears of it piece by piece. Its brackets and strings are followed, the rest is
        not checked. Raises TextEnded, after what is there was told."""
        begin = told = self.at
        depth, quoted = 0, False
        first = yield from self.next_char()
        if first not in '{["':
            return (yield from self._scalar(tell))
        while True:
            found = (_IN_STRING if quoted else _STRUCTURE).search(self.text, self.at)
            if found is None or (found[0] == "\\" and found.end() >= len(self.text)):
                self.at = len(self.text) if found is None else found.start()
                if tell is not None and self.at > told:
                    tell(self.text[told : self.at])
                    told = self.at
                yield from self.more()
                continue
            self.at = found.end() + (found[0] == "\\")
            if found[0] == '"':
                quoted = not quoted
            elif found[0] in "{[":
                depth += 1
            elif found[0] in "}]":
                depth -= 1
            if depth == 0 and not quoted:
                if tell is not None:
                    tell(self.text[told : self.at])
                return self.text[begin : self.at]

    def _scalar(self, tell: Callable[[str], None] | None) -> Reading[str]:
        begin = self.at
        while (found := _SCALAR_END.search(self.text, self.at)) is None:
            yield from self.more()
        if found.start() == begin:
            raise Malformed("no value")
        self.at = found.start()
        text = self.text[begin : self.at]
        if tell is not None:
            tell(text)
        return text

    def string(self) -> Reading[str]:
        """A JSON string's value. Raises Malformed."""
        if (yield from self.next_char()) != '"':
            raise Malformed("no string")
        text = yield from self.json()
        try:
            value = json.loads(text, strict=False)
        except ValueError:
            raise Malformed("not a JSON string") from None
        assert isinstance(value, str)
        return value


class Literals:
    """Finds the first of some texts, and how far none can have begun."""

    def __init__(self, literals: Iterable[str]) -> None:
        longest_first = sorted(literals, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._beginnings = {literal[:n] for literal in longest_first for n in range(1, len(literal))}
        self._longest = max(map(len, longest_first), default=0)

    def find(self, source: TextSource) -> tuple[re.Match[str] | None, int]:
        """From the source's place on: the first one and where it begins, or None and where one may have begun."""
        text = source.text
        found = self._pattern.search(text, source.at) if self._pattern else None
        if found is not None:
            return found, found.start()
        if not source.ended:
            for begin in range(max(source.at, len(text) - self._longest + 1), len(text)):
                if text[begin:] in self._beginnings:
                    return None, begin
        return None, len(text)
