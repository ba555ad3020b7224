"""GBNF, as llama.cpp reads it, to the Lark text that llguidance reads.

llguidance reads a text as a compiler does: terminals, which are regular expressions and always take as much as they
can, and rules over them. llama.cpp knows characters only. So a terminal is made of what is followed by nothing that it
could take itself, down to single characters where there is no other way: of its own example, `term "\\n"` where a term
may end with blanks and line breaks, llguidance's converter makes a grammar that no text fulfils.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from threadrunner.engine.constraints.gbnf_text import Atom, Either, GbnfText, Part, Reference, Repetition, Row
from threadrunner.engine.constraints.part_facts import Known, PartFacts, references
from threadrunner.engine.llama.errors import BadGrammar

MAX_PATH = 300
"""Rules that lead to one another: native code follows them by recursion, and 7,000 were the end of the process."""
MAX_GROUP = 64
"""Neighbours that are tried as one terminal."""


def to_lark(text: str) -> str:
    """Raises BadGrammar, with the line and the column of what cannot be read."""
    return _Writer(GbnfText(text).rules()).lark()


def _reachable(rules: dict[str, Either]) -> list[str]:
    """The rules that root leads to, root first. Raises BadGrammar."""
    found = {"root": None}
    path = [references(rules["root"])]
    while path:
        if len(path) > MAX_PATH:
            raise BadGrammar(f"more than {MAX_PATH} rules of the grammar lead from one to the next")
        name = next((name for name in path[-1] if name not in found), None)
        if name is None:
            path.pop()
        else:
            found[name] = None
            path.append(references(rules[name]))
    return list(found)


class _Writer:
    """Writes what is asked for, once: rules, terminals, and terminals without a name."""

    def __init__(self, rules: dict[str, Either]) -> None:
        """Raises BadGrammar."""
        names = _reachable(rules)
        self._rules = rules
        self._facts = Known({name: rules[name] for name in names})
        self._number = {name: number for number, name in enumerate(names)}
        self._lines: dict[str, str] = {}
        self._waiting: list[str] = []

    def lark(self) -> str:
        start = self._written(Reference("root", 0), 0)
        while self._waiting:
            name = self._waiting.pop()
            self._lines[self._rule(name)] = self._written(self._rules[name], self._facts.follow[name])
        lines = (f"{name}: {body}" for name, body in self._lines.items())
        return "\n".join(["%llguidance {}", f"start: {start}", *lines]) + "\n"

    def _rule(self, name: str) -> str:
        return f"rule_{self._number[name]}"

    def _written(self, part: Part, follow: int) -> str:
        """`follow` is what may come next."""
        if isinstance(part, Atom):
            return part.lark
        facts = self._facts.of(part)
        if facts.terminal and not facts.more & follow:
            return self._terminal(part)
        match part:
            case Reference():
                if self._rule(part.name) not in self._lines:
                    self._lines[self._rule(part.name)] = ""
                    self._waiting.append(part.name)
                return self._rule(part.name)
            case Row():
                return " ".join(self._row(part, follow)) or '""'
            case Either():
                return f"({' | '.join(self._written(way, follow) for way in part.ways)})"
            case Repetition():
                return f"({self._written(part.part, follow | facts.first)}){part.times}"

    def _row(self, row: Row, follow: int) -> Iterator[str]:
        """The longest groups of neighbours that can be terminals."""
        parts = row.parts
        after = [follow]
        for part in reversed(parts):
            facts = self._facts.of(part)
            after.append(facts.first | (after[-1] if facts.empty else 0))
        after.reverse()
        begin = 0
        while begin < len(parts):
            end, together = begin, PartFacts(empty=True, terminal=True)
            for at in range(begin, min(begin + MAX_GROUP, len(parts))):
                together = together.then(self._facts.of(parts[at]))
                if not together.terminal:
                    break
                if not together.more & after[at + 1]:
                    end = at + 1
            end = max(end, begin + 1)
            group = parts[begin] if end == begin + 1 else Row(parts[begin:end])
            yield self._written(group, after[end]) if end == begin + 1 else self._terminal(group)
            begin = end

    def _terminal(self, part: Part) -> str:
        """Its name."""
        if isinstance(part, Reference):
            name = re.sub(r"[^A-Z0-9]", "_", f"T{self._number[part.name]}_{part.name}".upper())
            if name not in self._lines:
                self._lines[name] = self._expression(self._rules[part.name])
            return name
        name = f"T_{len(self._lines)}"
        self._lines[name] = ""
        self._lines[name] = self._expression(part)
        return name

    def _expression(self, part: Part) -> str:
        match part:
            case Atom():
                return part.lark
            case Reference():
                return self._terminal(part)
            case Row():
                return " ".join(map(self._expression, part.parts)) or '""'
            case Either():
                return f"({' | '.join(map(self._expression, part.ways))})"
            case Repetition():
                return f"({self._expression(part.part)}){part.times}"
