"""Which brackets are open where: enough of every language's strings and comments to count by, and no more. Pure.

A text that does not add up (a closer of another kind, a quote in prose) gives None, and then no rule uses it.
"""

from __future__ import annotations

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}
_QUOTES = "\"'`"


def scan(text: str, opened: str = "") -> tuple[str, str, list[int]] | None:
    """(openers left open, closers without an opener, their offsets in `text`), with `opened` open before it; None where
    the text does not add up."""
    stack = list(opened)
    missing: list[str] = []
    where: list[int] = []
    index, size = 0, len(text)
    while index < size:
        character = text[index]
        if character in _QUOTES:
            index = _string_end(text, index)
            continue
        if character == "#" or text.startswith("//", index):
            index = _line_end(text, index)
            continue
        if character in OPENERS:
            stack.append(character)
        elif character in CLOSERS:
            if not stack:
                missing.append(character)
                where.append(index)
            elif stack.pop() != CLOSERS[character]:
                return None
        index += 1
    return "".join(stack), "".join(missing), where


def _string_end(text: str, index: int) -> int:
    """The offset behind the string that begins here; a quote that does not end on its line (an apostrophe) is a
    character like others."""
    quote = text[index]
    if text.startswith(quote * 3, index):
        end = text.find(quote * 3, index + 3)
        return len(text) if end < 0 else end + 3
    end = index + 1
    while end < len(text) and text[end] != "\n":
        if text[end] == "\\":
            end += 2
            continue
        if text[end] == quote:
            return end + 1
        end += 1
    return index + 1


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end
