"""GBNF, as llama.cpp reads it, to the Lark text that llguidance reads.

A rule without recursion becomes a terminal, which is one regular expression: exact, and fast over a whole vocabulary.
What recursion leaves are rules over such terminals, and those are greedy as a lexer's are: where two terminals begin
alike the longer one is taken. So the language can be smaller than in llama.cpp, never larger.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NoReturn

from threadrunner.engine.llama.errors import BadGrammar

MAX_CHARACTERS = 1 << 18
MAX_RULES = 8_000
MAX_NESTING = 200
"""Brackets inside each other: reading them recurses, here and in native code."""
MAX_TERMINAL = 2_000
"""Characters and classes in one regular expression, the rules that it names counted with theirs. Thirty rules that each
name the next one twice would be an expression of a billion: measured 1.4 s and 80 MB until llguidance gave up."""
MAX_DEPTH = 300
"""Brackets and names inside each other, in one regular expression, and rules that lead to one another: native code
follows them by recursion, and 7,000 were the end of the process."""
MAX_REPETITIONS = 100_000

_BLANK = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_ANY_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TIMES = re.compile(r"\{\s*([0-9]{1,9})\s*(,?)\s*([0-9]{0,9})\s*\}")
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]"}
_HEX = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True, slots=True)
class _Name:
    """A rule's name where it is used, which becomes a rule's or a terminal's."""

    name: str
    at: int


@dataclass(slots=True)
class _Rule:
    parts: list[str | _Name] = field(default_factory=list)
    size: int = 0
    depth: int = 1
    """Its deepest brackets."""

    def names(self) -> set[str]:
        return {part.name for part in self.parts if isinstance(part, _Name)}


def to_lark(text: str) -> str:
    """Raises BadGrammar, with the line and the column of what cannot be read."""
    if not text.strip():
        raise BadGrammar("the grammar is empty")
    if len(text) > MAX_CHARACTERS:
        raise BadGrammar(f"the grammar has {len(text)} characters; the maximum is {MAX_CHARACTERS}")
    rules = _Parser(text).rules()
    if "root" not in rules:
        raise BadGrammar("the grammar has no rule named root, which is where an answer begins")
    used = _reachable(rules)
    terminals = _terminals(rules, used)
    called = {
        name: re.sub(r"[^A-Z0-9]", "_", f"T{i}_{name}".upper()) if name in terminals else f"rule_{i}"
        for i, name in enumerate(used)
    }
    lines = ["%llguidance {}", f"start: {called['root']}"]
    for name in used:
        body = " ".join(called[part.name] if isinstance(part, _Name) else part for part in rules[name].parts)
        lines.append(f"{called[name]}: {body}")
    return "\n".join(lines) + "\n"


def _reachable(rules: dict[str, _Rule]) -> list[str]:
    """The rules that root leads to, root first. Raises BadGrammar."""
    found = {"root": None}
    path = [iter(rules["root"].parts)]
    while path:
        if len(path) > MAX_DEPTH:
            raise BadGrammar(f"more than {MAX_DEPTH} rules of the grammar lead from one to the next")
        for part in path[-1]:
            if isinstance(part, _Name) and part.name not in found:
                found[part.name] = None
                path.append(iter(rules[part.name].parts))
                break
        else:
            path.pop()
    return list(found)


def _terminals(rules: dict[str, _Rule], used: list[str]) -> set[str]:
    """Those that are one regular expression of bounded size: all that they name are, and nothing leads back."""
    users: dict[str, list[str]] = defaultdict(list)
    for name in used:
        for other in rules[name].names():
            users[other].append(name)
    open_names = {name: len(rules[name].names()) for name in used}
    ready = [name for name in used if not open_names[name]]
    sizes: dict[str, int] = {}
    depths: dict[str, int] = {}
    while ready:
        name = ready.pop()
        rule = rules[name]
        size = rule.size + sum(sizes[part.name] for part in rule.parts if isinstance(part, _Name))
        depth = rule.depth + max((depths[other] for other in rule.names()), default=0)
        if size > MAX_TERMINAL or depth > MAX_DEPTH:
            continue
        sizes[name], depths[name] = size, depth
        for user in users[name]:
            open_names[user] -= 1
            if not open_names[user]:
                ready.append(user)
    return set(sizes)


class _Parser:
    """One walk over the text; each method raises BadGrammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._rule = _Rule()

    def rules(self) -> dict[str, _Rule]:
        """A name that comes twice means what it is given last, as in llama.cpp."""
        rules: dict[str, _Rule] = {}
        self._skip(_ANY_BLANK)
        while self._at < len(self._text):
            name = self._skip(_NAME) or self._fail("expected a rule's name")
            self._skip(_BLANK)
            self._expect("::=")
            self._skip(_ANY_BLANK)
            rules[name] = self._rule = _Rule()
            self._alternatives(_BLANK)
            if self._peek() not in ("", "\r", "\n"):
                self._fail("expected the end of the rule")
            self._skip(_ANY_BLANK)
            if len(rules) > MAX_RULES:
                raise BadGrammar(f"the grammar has more than {MAX_RULES} rules")
        for rule in rules.values():
            for part in rule.parts:
                if isinstance(part, _Name) and part.name not in rules:
                    self._at = part.at
                    self._fail(f"there is no rule named {part.name}")
        return rules

    def _alternatives(self, blank: re.Pattern[str]) -> None:
        """`blank` is what may stand between elements: within brackets also line breaks."""
        self._sequence(blank)
        while self._peek() == "|":
            self._at += 1
            self._skip(_ANY_BLANK)
            self._rule.parts.append("|")
            self._sequence(blank)

    def _sequence(self, blank: re.Pattern[str]) -> None:
        parts = self._rule.parts
        empty = True
        while (begin := len(parts)) >= 0 and self._element():
            empty = False
            self._skip(blank)
            while times := self._times():
                parts[begin:] = ["(", *parts[begin:], f"){times}"]
                self._skip(blank)
        if empty:
            parts.append('""')

    def _element(self) -> bool:
        """Read one, if there is one."""
        letter = self._peek()
        if letter == '"':
            self._literal()
        elif letter == "[":
            self._class()
        elif letter == ".":
            self._at += 1
            self._add("/(?s:.)/")
        elif letter == "(":
            self._group()
        elif letter in ("<", "!"):
            self._fail("tokens cannot be named in a grammar; write their text")
        elif name := self._skip(_NAME):
            self._rule.parts.append(_Name(name, self._at - len(name)))
        else:
            return False
        return True

    def _group(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._fail(f"brackets nest deeper than {MAX_NESTING}")
        self._rule.depth = max(self._rule.depth, self._depth + 1)
        self._at += 1
        self._skip(_ANY_BLANK)
        self._rule.parts.append("(")
        self._alternatives(_ANY_BLANK)
        self._expect(")")
        self._rule.parts.append(")")
        self._depth -= 1

    def _literal(self) -> None:
        begin = self._at
        self._at += 1
        text = ""
        while self._peek() != '"':
            text += self._character(begin)
        self._at += 1
        self._add(json.dumps(text, ensure_ascii=False), len(text))

    def _class(self) -> None:
        begin = self._at
        self._at += 1
        found = "["
        if self._peek() == "^":
            self._at += 1
            found += "^"
        while self._peek() != "]":
            first = last = self._character(begin)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                last = self._character(begin)
            found += _escaped(first) if first == last else f"{_escaped(first)}-{_escaped(last)}"
        self._at += 1
        self._add(f"/{found}]/")

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

    # the text

    def _add(self, part: str, size: int = 1) -> None:
        self._rule.parts.append(part)
        self._rule.size += size

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
