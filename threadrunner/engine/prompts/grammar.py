"""GBNF as llama.cpp reads it: rules of alternatives, for those who must know what a grammar costs before it runs.

Faithful to llama.cpp's parser but for what a mistake means: here nothing is said about it, because llama.cpp says it.
"""

from __future__ import annotations

import re

Ranges = tuple[tuple[int, int], ...]
"""A character: the code points that may stand there, from and to."""
MAX_REPETITIONS = 2000  # llama.cpp's own: more at the upper end is no limit, more at the lower end is refused
_LAST = 0x10FFFF
_TOKEN: Ranges = ((-1, -1),)
"""A token by its name or number, which is no character."""
_ESCAPES = {"t": 9, "r": 13, "n": 10, "\\": 92, '"': 34, "[": 91, "]": 93}
_HEX = {"x": 2, "u": 4, "U": 8}
_BLANK = re.compile(r"(?:[ \t]|#[^\r\n\0]*)*")
_ANY_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\r\n\0]*)*")
_NAME = re.compile(r"[A-Za-z0-9-]+")
_NAMED_TOKEN = re.compile(r"!?<[^>]*>")
_TIMES = re.compile(r"\{[ \t\r\n]*([0-9]+)[ \t\r\n]*(,?)[ \t\r\n]*([0-9]*)[ \t\r\n]*\}")


class NotUnderstood(Exception):
    """A mistake in the grammar; llama.cpp has words for it."""


class Repeat:
    """The optional part of a repetition: its body up to `times` times more (None: without end)."""

    def __init__(self, body: tuple[Element, ...], times: int | None) -> None:
        self.body = body
        self.times = times
        self._alternatives: tuple[tuple[Element, ...], ...] = ()

    @property
    def alternatives(self) -> tuple[tuple[Element, ...], ...]:
        """Made when they are asked for: of two thousand, few are."""
        if not self._alternatives:
            more = self if self.times is None else Repeat(self.body, self.times - 1) if self.times > 1 else None
            self._alternatives = ((*self.body, more) if more else self.body, ())
        return self._alternatives


class Rule:
    """A named rule, or a pair of brackets."""

    def __init__(self) -> None:
        self.alternatives: tuple[tuple[Element, ...], ...] = ()


Element = Ranges | Rule | Repeat


class Grammar:
    """`rules` are all rules, `repeats` all repetitions that stand in the text."""

    def __init__(self, text: str) -> None:
        """Raises NotUnderstood; RecursionError for brackets too deep."""
        self.rules: list[Rule] = []
        self.repeats: list[Repeat] = []
        self._named: dict[str, Rule] = {}
        self._text = text + "\0"  # an end that no pattern goes past
        self._at = 0
        self._skip(_ANY_BLANK)
        while self._text[self._at] != "\0":
            self._rule()
        if not all(rule.alternatives for rule in self.rules):
            raise NotUnderstood

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise NotUnderstood
        self._at = found.end()
        return found.group()

    def _new_rule(self) -> Rule:
        self.rules.append(Rule())
        return self.rules[-1]

    def _by_name(self, name: str) -> Rule:
        if name not in self._named:
            self._named[name] = self._new_rule()
        return self._named[name]

    def _rule(self) -> None:
        rule = self._by_name(self._skip(_NAME))
        self._skip(_BLANK)
        if not self._text.startswith("::=", self._at):
            raise NotUnderstood
        self._at += 3
        self._skip(_ANY_BLANK)
        rule.alternatives = self._read_alternatives(_BLANK)
        if self._text[self._at] not in "\r\n\0":
            raise NotUnderstood
        self._skip(_ANY_BLANK)

    def _read_alternatives(self, blank: re.Pattern[str]) -> tuple[tuple[Element, ...], ...]:
        """`blank` is what may stand between elements: within brackets also line breaks."""
        found = [self._sequence(blank)]
        while self._text[self._at] == "|":
            self._at += 1
            self._skip(_ANY_BLANK)
            found.append(self._sequence(blank))
        return tuple(found)

    def _sequence(self, blank: re.Pattern[str]) -> tuple[Element, ...]:
        elements: list[Element] = []
        last = 0  # where what a repetition repeats begins
        while True:
            letter = self._text[self._at]
            if letter in "*+?{":
                self._repeat(elements, last)
                self._skip(_ANY_BLANK if letter == "{" else blank)
                continue
            unit = self._unit(letter)
            if unit is None:
                return tuple(elements)
            last = len(elements)
            elements += unit
            self._skip(blank)

    def _unit(self, letter: str) -> list[Element] | None:
        """What a repetition would repeat; None where the sequence ends."""
        if letter == '"':
            self._at += 1
            codes = []
            while self._text[self._at] != '"':
                codes.append(self._code())
            self._at += 1
            return [((code, code),) for code in codes]
        if letter == "[":
            return [self._class()]
        if letter == "(":
            self._at += 1
            self._skip(_ANY_BLANK)
            rule = self._new_rule()
            rule.alternatives = self._read_alternatives(_ANY_BLANK)
            if self._text[self._at] != ")":
                raise NotUnderstood
            self._at += 1
            return [rule]
        if letter == ".":
            self._at += 1
            return [((0, _LAST),)]
        if letter in "<!":
            self._skip(_NAMED_TOKEN)
            return [_TOKEN]
        return [self._by_name(self._skip(_NAME))] if _NAME.match(letter) else None

    def _class(self) -> Ranges:
        self._at += 1
        negated = self._text[self._at] == "^"
        self._at += negated
        ranges = []
        while self._text[self._at] != "]":
            low = high = self._code()
            if self._text[self._at] == "-" and self._text[self._at + 1] != "]":
                self._at += 1
                high = self._code()
            ranges.append((low, high))
        self._at += 1
        return _others(ranges) if negated else tuple(ranges)

    def _code(self) -> int:
        letter = self._text[self._at]
        if letter == "\0":
            raise NotUnderstood
        self._at += 1
        if letter != "\\":
            return ord(letter)
        escape = self._text[self._at]
        self._at += 1
        if escape in _ESCAPES:
            return _ESCAPES[escape]
        digits = self._text[self._at : self._at + _HEX.get(escape, 0)]
        self._at += len(digits)
        try:
            return int(digits, 16)
        except ValueError:
            raise NotUnderstood from None

    def _repeat(self, elements: list[Element], last: int) -> None:
        """As llama.cpp does, the least number of times the body is written out, and then what is optional."""
        least, most = self._times()
        body = tuple(elements[last:])
        if not body or least > MAX_REPETITIONS:
            raise NotUnderstood
        del elements[last:]
        elements += body * least
        if most is None or most > least:
            repeat = Repeat(body, None if most is None else most - least)
            self.repeats.append(repeat)
            elements.append(repeat)

    def _times(self) -> tuple[int, int | None]:
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._text[self._at])
        if simple is not None:
            self._at += 1
            return simple
        found = _TIMES.match(self._text, self._at)
        if found is None:
            raise NotUnderstood
        self._at = found.end()
        least = int(found[1])
        most = least if not found[2] else int(found[3]) if found[3] else None
        return least, None if most is not None and most > MAX_REPETITIONS else most


def _others(ranges: list[tuple[int, int]]) -> Ranges:
    found, begin = [], 0
    for low, high in sorted(ranges):
        if low > begin:
            found.append((begin, low - 1))
        begin = max(begin, high + 1)
    return (*found, (begin, _LAST)) if begin <= _LAST else tuple(found)
