"""The parts of a GBNF grammar, and the walk over its text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn

from threadrunner.engine.llama.errors import BadGrammar

MAX_CHARACTERS = 1 << 18
MAX_RULES = 8_000
MAX_NESTING = 100
"""Brackets inside each other: reading them recurses, here and in native code."""
MAX_REPETITIONS = 100_000

_BLANK = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_ANY_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TIMES = re.compile(r"\{\s*([0-9]{1,9})\s*(,?)\s*([0-9]{0,9})\s*\}")
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]"}
_HEX = {"x": 2, "u": 4, "U": 8}
_ASCII = 128
ANY = (1 << (_ASCII + 1)) - 1
"""All characters, as a set of bits: one for each of ASCII, one for all others together."""


@dataclass(frozen=True, slots=True)
class Atom:
    """A literal or a class, as Lark writes it."""

    lark: str
    first: int
    """What it may begin with, as a set of bits; 0 for the empty literal."""
    size: int = 1


@dataclass(frozen=True, slots=True)
class Reference:
    name: str
    at: int
    """Its place in the text."""


@dataclass(frozen=True, slots=True)
class Row:
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Either:
    ways: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Repetition:
    part: Part
    times: str
    """As Lark writes it."""

    @property
    def optional(self) -> bool:
        return self.times[0] in "?*" or self.times.startswith("{0")


Part = Atom | Reference | Row | Either | Repetition


class GbnfText:
    """One walk over the text; each method raises BadGrammar, with the line and the column."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._references: list[Reference] = []

    def rules(self) -> dict[str, Either]:
        """A name that comes twice means what it is given last, as in llama.cpp."""
        if not self._text.strip():
            raise BadGrammar("the grammar is empty")
        if len(self._text) > MAX_CHARACTERS:
            raise BadGrammar(f"the grammar has {len(self._text)} characters; the maximum is {MAX_CHARACTERS}")
        rules: dict[str, Either] = {}
        self._skip(_ANY_BLANK)
        while self._at < len(self._text):
            name = self._skip(_NAME) or self._fail("expected a rule's name")
            self._skip(_BLANK)
            self._expect("::=")
            self._skip(_ANY_BLANK)
            rules[name] = self._either(_BLANK)
            if self._peek() not in ("", "\r", "\n"):
                self._fail("expected the end of the rule")
            self._skip(_ANY_BLANK)
            if len(rules) > MAX_RULES:
                raise BadGrammar(f"the grammar has more than {MAX_RULES} rules")
        if missing := next((found for found in self._references if found.name not in rules), None):
            self._at = missing.at
            self._fail(f"there is no rule named {missing.name}")
        if "root" not in rules:
            raise BadGrammar("the grammar has no rule named root, which is where an answer begins")
        return rules

    def _either(self, blank: re.Pattern[str]) -> Either:
        """`blank` is what may stand between elements: within brackets also line breaks."""
        ways = [self._row(blank)]
        while self._peek() == "|":
            self._at += 1
            self._skip(_ANY_BLANK)
            ways.append(self._row(blank))
        return Either(tuple(ways))

    def _row(self, blank: re.Pattern[str]) -> Row:
        parts: list[Part] = []
        while (part := self._element()) is not None:
            self._skip(blank)
            while times := self._times():
                part = Repetition(part, times)
                self._skip(blank)
            parts.append(part)
        return Row(tuple(parts))

    def _element(self) -> Part | None:
        """Read one, if there is one."""
        letter = self._peek()
        if letter == '"':
            return self._literal()
        if letter == "[":
            return self._class()
        if letter == ".":
            self._at += 1
            return Atom("/(?s:.)/", ANY)
        if letter == "(":
            return self._group()
        if letter in ("<", "!") and letter:
            self._fail("tokens cannot be named in a grammar; write their text")
        if name := self._skip(_NAME):
            self._references.append(Reference(name, self._at - len(name)))
            return self._references[-1]
        return None

    def _group(self) -> Part:
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._fail(f"brackets nest deeper than {MAX_NESTING}")
        self._at += 1
        self._skip(_ANY_BLANK)
        found = self._either(_ANY_BLANK)
        self._expect(")")
        self._depth -= 1
        return found

    def _literal(self) -> Atom:
        begin = self._at
        self._at += 1
        text = ""
        while self._peek() != '"':
            text += self._character(begin)
        self._at += 1
        return Atom(json.dumps(text, ensure_ascii=False), _bit(text[0]) if text else 0, len(text))

    def _class(self) -> Atom:
        begin = self._at
        self._at += 1
        others = self._peek() == "^"
        self._at += others
        found, first = "", 0
        while self._peek() != "]":
            low = high = self._character(begin)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._character(begin)
            found += _escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}"
            first |= _bits(low, high)
        self._at += 1
        if others:
            first = ANY & ~first | 1 << _ASCII
        return Atom(f"/[{'^' * others}{found}]/", first)

    def _character(self, begin: int) -> str:
        """One, or an escape, of what began there."""
        letter = self._peek()
        if not letter:
            self._at = begin
            self._fail("expected an end to what begins here")
        self._at += 1
        if letter != "\\":
            return letter
        kind = self._peek()
        self._at += 1
        if kind in _ESCAPES:
            return _ESCAPES[kind]
        if kind not in _HEX:
            self._at -= 2
            self._fail("not an escape")
        digits = self._text[self._at : self._at + _HEX[kind]]
        if not re.fullmatch(f"[0-9A-Fa-f]{{{_HEX[kind]}}}", digits) or not _is_scalar(code := int(digits, 16)):
            self._at -= 2
            self._fail("not a character's number")
        self._at += len(digits)
        return chr(code)

    def _times(self) -> str:
        """A repetition as Lark writes it, "" where there is none."""
        letter = self._peek()
        if letter and letter in "*+?":
            self._at += 1
            return letter
        if letter != "{":
            return ""
        found = _TIMES.match(self._text, self._at) or self._fail("not a repetition")
        least, comma, most = found.groups()
        if max(int(least), int(most or 0)) > MAX_REPETITIONS:
            self._fail(f"more than {MAX_REPETITIONS} repetitions")
        if most and (not comma or int(most) < int(least)):
            self._fail("the largest number of repetitions is less than the smallest")
        self._at = found.end()
        return "{%d%s%s}" % (int(least), comma, most)  # noqa: UP031 - braces

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found.group()

    def _expect(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            self._fail(f"expected {text}")
        self._at += len(text)

    def _fail(self, problem: str) -> NoReturn:
        before = self._text[: self._at]
        line, column = before.count("\n") + 1, self._at - (before.rfind("\n") + 1) + 1
        near = self._text[self._at : self._at + 20].split("\n")[0]
        raise BadGrammar(f"the grammar, line {line}, column {column}: {problem}, before {near!r}")


def _is_scalar(code: int) -> bool:
    return code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF


def _escaped(letter: str) -> str:
    """In a class of a regular expression: `&&`, `--` and `[` would mean something there."""
    return letter if letter.isalnum() else f"\\x{{{ord(letter):x}}}"


def _bit(letter: str) -> int:
    return 1 << min(ord(letter), _ASCII)


def _bits(low: str, high: str) -> int:
    """Of all characters from one to the other."""
    begin, end = min(ord(low), _ASCII), min(ord(high), _ASCII)
    return (1 << (end + 1)) - (1 << begin) if end >= begin else 0
