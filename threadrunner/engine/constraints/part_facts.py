"""What is known of a grammar's parts: with what they begin, what may follow, how they could go on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from threadrunner.engine.constraints.gbnf_text import Atom, Either, Part, Reference, Repetition, Row

MAX_TERMINAL = 2_000
"""Characters and classes in one regular expression, the rules that it names counted with theirs. Thirty rules that each
name the next one twice would be an expression of a billion: measured 1.4 s and 80 MB until llguidance gave up."""
MAX_DEPTH = 200
"""Brackets and names inside each other, in one regular expression: native code follows them by recursion."""


@dataclass(frozen=True, slots=True)
class PartFacts:
    """Sets of characters are bits, as in gbnf_text."""

    empty: bool = False
    """It may be nothing."""
    first: int = 0
    more: int = 0
    """With what a text that is whole could go on and be whole, or become it, again."""
    terminal: bool = False
    """It is one regular expression of bounded size."""
    size: int = 0
    depth: int = 0

    def then(self, other: PartFacts) -> PartFacts:
        """Of both in a row."""
        return _bounded(
            self.empty and other.empty,
            self.first | (other.first if self.empty else 0),
            other.more | (self.more | other.first if other.empty else 0),
            self.terminal and other.terminal,
            self.size + other.size,
            max(self.depth, other.depth),
        )

    def beside(self, other: PartFacts) -> PartFacts:
        """Of either."""
        return _bounded(
            self.empty or other.empty,
            self.first | other.first,
            self.more | other.more,
            self.terminal and other.terminal,
            self.size + other.size,
            max(self.depth, other.depth),
        )


def _bounded(empty: bool, first: int, more: int, terminal: bool, size: int, depth: int) -> PartFacts:
    if terminal and size <= MAX_TERMINAL and depth <= MAX_DEPTH:
        return PartFacts(empty, first, more, True, size, depth)
    return PartFacts(empty, first, more)  # sizes of what leads back to itself would grow for ever


class Known:
    """The facts of all parts of these rules. They are found by going over the rules, those that others use first, until
    nothing new is found; of a rule that leads back to itself, that it is no terminal."""

    def __init__(self, rules: dict[str, Either]) -> None:
        self._rules: dict[str, PartFacts] = {}
        self._parts: dict[int, PartFacts] = {}
        self.follow: dict[str, int] = defaultdict(int)
        """By rule: what may come after it."""
        order = list(rules)[::-1]
        changed = True
        while changed:
            changed = False
            self._parts.clear()
            for name in order:
                if (found := self._deeper(rules[name])) != self._rules.get(name):
                    self._rules[name] = found
                    changed = True
        changed = True
        while changed:
            before = dict(self.follow)
            for name in rules:
                self._tell(rules[name], self.follow[name])
            changed = before != self.follow

    def _deeper(self, part: Part) -> PartFacts:
        found = self.of(part)
        return _bounded(found.empty, found.first, found.more, found.terminal, found.size, found.depth + 1)

    def of(self, part: Part) -> PartFacts:
        known = self._parts.get(id(part))
        if known is None:
            known = self._parts[id(part)] = self._found(part)
        return known

    def _found(self, part: Part) -> PartFacts:
        match part:
            case Atom():
                return PartFacts(not part.first and part.size == 0, part.first, 0, True, part.size)
            case Reference():
                return self._rules.get(part.name, PartFacts())
            case Row():
                found = PartFacts(empty=True, terminal=True)
                for inner in part.parts:
                    found = found.then(self.of(inner))
                return found
            case Either():
                found = self.of(part.ways[0])
                for way in part.ways[1:]:
                    found = found.beside(self.of(way))
                return _bounded(found.empty, found.first, found.more, found.terminal, found.size, found.depth + 1)
            case Repetition():
                body = self.of(part.part)
                again = 0 if part.times == "?" else body.first
                empty = body.empty or part.optional
                return _bounded(empty, body.first, body.more | again, body.terminal, body.size, body.depth + 1)

    def _tell(self, part: Part, follow: int) -> None:
        """The rules that it names what may come after them."""
        match part:
            case Reference():
                self.follow[part.name] |= follow
            case Row():
                for inner in reversed(part.parts):
                    self._tell(inner, follow)
                    facts = self.of(inner)
                    follow = facts.first | (follow if facts.empty else 0)
            case Either():
                for way in part.ways:
                    self._tell(way, follow)
            case Repetition():
                self._tell(part.part, follow | self.of(part).first)


def references(part: Part) -> Iterator[str]:
    """The names in it."""
    waiting: list[Part] = [part]
    while waiting:
        match waiting.pop():
            case Reference(name):
                yield name
            case Row(parts):
                waiting.extend(parts)
            case Either(ways):
                waiting.extend(ways)
            case Repetition(inner):
                waiting.append(inner)
