"""Places in files, cut deterministically: at each, a span of the file is taken out, which is the right answer."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

KINDS = ("line end", "inside a line", "inside a word", "brackets", "block", "whole lines", "comment", "string")

_TOKEN = re.compile(r"\w+|[^\w\s]")
_CLOSERS_ONLY = re.compile(r"[\s)\]}>;,:{\"'`]*\Z")
_WORD = re.compile(r"[A-Za-z_]\w{4,}")
_COMMENT = re.compile(r"^\s*(?://+|#+|--+|;+|\*|/\*+|<!--)\s+(?=\w)")
_STRING = re.compile(r"([\"'`])((?:(?!\1)[^\\\n]|\\.){6,60})\1")
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Span:
    """`text[start:end]` is the right answer."""

    kind: str
    file: str
    language: str
    text: str
    start: int
    end: int

    @property
    def truth(self) -> str:
        return self.text[self.start : self.end]

    @property
    def prefix(self) -> str:
        return self.text[: self.start]

    @property
    def suffix(self) -> str:
        return self.text[self.end :]


Cut = tuple[int, int] | None
"""Columns in one line, or offsets in a text."""


def _line_end(line: str, rng: random.Random) -> Cut:
    starts = [m.start() for m in _TOKEN.finditer(line)][1:]
    return (rng.choice(starts), len(line.rstrip())) if starts else None


def _inside(line: str, rng: random.Random) -> Cut:
    """One to eight tokens, with more than closers behind them."""
    tokens = [(m.start(), m.end()) for m in _TOKEN.finditer(line)]
    for _ in range(8):
        if len(tokens) < 5:
            return None
        first = rng.randrange(1, len(tokens) - 2)
        last = min(len(tokens) - 2, first + rng.randrange(0, 8))
        if not _CLOSERS_ONLY.match(line[tokens[last][1] :]):
            return tokens[first][0], tokens[last][1]
    return None


def _word(line: str, rng: random.Random) -> Cut:
    """The rest of a word, or some letters within it; with more than closers behind it."""
    words = [m for m in _WORD.finditer(line) if not _CLOSERS_ONLY.match(line[m.end() :])]
    if not words:
        return None
    word = rng.choice(words)
    start = rng.randrange(word.start() + 1, word.end() - 1)
    return start, word.end() if rng.random() < 0.75 else rng.randrange(start + 1, word.end())


def _brackets(line: str, rng: random.Random) -> Cut:
    """What is between two brackets of one line, or the rest of it."""
    pairs: list[tuple[int, int]] = []
    stack: list[int] = []
    for at, character in enumerate(line):
        if character in _PAIRS:
            stack.append(at)
        elif stack and character == _PAIRS[line[stack[-1]]]:
            pairs.append((stack.pop(), at))
    pairs = [(a, b) for a, b in pairs if b - a > 2]
    if not pairs:
        return None
    start, end = rng.choice(pairs)
    inner = [start + 1, *(m.start() + start + 1 for m in _TOKEN.finditer(line[start + 1 : end - 1]))]
    return (start + 1 if rng.random() < 0.6 else rng.choice(inner)), end


def _comment(line: str, rng: random.Random) -> Cut:
    head = _COMMENT.match(line)
    words = [m.start() for m in re.finditer(r"\b\w", line[head.end() :])] if head else []
    return (head.end() + rng.choice(words), len(line.rstrip())) if head and words else None


def _string(line: str, rng: random.Random) -> Cut:
    strings = list(_STRING.finditer(line))
    if not strings:
        return None
    chosen = rng.choice(strings)
    starts = [m.start() for m in re.finditer(r"\b\w", chosen[2])] or [0]
    return chosen.start(2) + rng.choice(starts), chosen.end(2)


def _lines(text: str, rng: random.Random, *, block: bool) -> Cut:
    """Whole lines: a block's at the end of its head line, or one to three lines at the indentation of the first."""
    starts = [0, *(m.end() for m in re.finditer("\n", text))]
    lines = text.split("\n")
    for _ in range(30):
        first = rng.randrange(1, max(2, len(lines) - 4))
        depth = _depth(lines[first])
        if depth is None or (block and (above := _depth(lines[first - 1])) is not None and depth <= above):
            continue
        if block and _depth(lines[first - 1]) is None:
            continue
        last = first
        room = rng.randrange(1, 4) if not block else 8
        while last + 1 < len(lines) and last - first + 1 < room:
            deeper = _depth(lines[last + 1])
            if deeper is None or deeper < depth:
                break
            last += 1
        if block and last + 1 < len(lines) and (_depth(lines[last + 1]) or 0) >= depth:
            continue  # longer than what is asked for
        end = starts[last] + len(lines[last].rstrip())
        if block and rng.random() < 0.5:
            return starts[first] - 1, end
        return starts[first] + depth, end
    return None


def _depth(line: str) -> int | None:
    return len(line) - len(line.lstrip()) if line.strip() else None


_IN_LINE: dict[str, Callable[[str, random.Random], Cut]] = {
    "line end": _line_end,
    "inside a line": _inside,
    "inside a word": _word,
    "brackets": _brackets,
    "comment": _comment,
    "string": _string,
}


def _try(kind: str, text: str, rng: random.Random) -> Cut:
    if kind in ("block", "whole lines"):
        return _lines(text, rng, block=kind == "block")
    lines = text.split("\n")
    for _ in range(40):
        number = rng.randrange(len(lines))
        line = lines[number]
        if kind not in ("comment", "string") and _COMMENT.match(line) and rng.random() < 0.9:
            continue
        if line.strip() and (cut := _IN_LINE[kind](line, rng)):
            begin = sum(len(other) + 1 for other in lines[:number])
            return begin + cut[0], begin + cut[1]
    return None


def spans(language: str, files: list[tuple[str, str]], count: int, seed: str = "") -> Iterator[Span]:
    """Up to `count` places, kinds and files in turn; the same ones for the same files."""
    rng = random.Random(zlib.crc32(f"{language}{seed}".encode()))
    order = list(files)
    rng.shuffle(order)
    made = turn = 0
    while order and made < count and turn < 4 * count:
        kind, (name, text) = KINDS[turn % len(KINDS)], order[turn % len(order)]
        turn += 1
        if len(order) % len(KINDS) == 0 and turn % len(order) == 0:
            order.append(order.pop(0))  # so that each kind meets each file
        if (cut := _try(kind, text, rng)) and text[slice(*cut)].strip():
            made += 1
            yield Span(kind, name, language, text, *cut)
