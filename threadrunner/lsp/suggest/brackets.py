"""Which brackets are open where: enough of every language's strings and comments to count by, and no more.

A text that does not add up (a closer of another kind, a quote in prose) gives None, and then nobody decides by it.
"""

from __future__ import annotations

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}
_QUOTES = "\"'`"


def scan(text: str, opened: str = "") -> tuple[str, str, list[int]] | None:
    """(openers left open, closers that found none, where those stand) after `text`, with `opened` before it."""
    stack = list(opened)
    missing: list[str] = []
    where: list[int] = []
    at, size = 0, len(text)
    while at < size:
        character = text[at]
        if character in _QUOTES:
            at = _string_end(text, at)
            continue
        if character == "#" or text.startswith("//", at):
            at = _line_end(text, at)
            continue
        if character in OPENERS:
            stack.append(character)
        elif character in CLOSERS:
            if not stack:
                missing.append(character)
                where.append(at)
            elif stack.pop() != CLOSERS[character]:
                return None
        at += 1
    return "".join(stack), "".join(missing), where


def _string_end(text: str, at: int) -> int:
    """Behind the string that begins here; a quote that does not end on its line (an apostrophe) is a character."""
    quote = text[at]
    if text.startswith(quote * 3, at):
        end = text.find(quote * 3, at + 3)
        return len(text) if end < 0 else end + 3
    end = at + 1
    while end < len(text) and text[end] != "\n":
        if text[end] == "\\":
            end += 2
            continue
        if text[end] == quote:
            return end + 1
        end += 1
    return at + 1


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
