"""Regular expressions of a schema, without what llguidance gets wrong in JSON's strings.

A set of characters with NUL in it takes an escaped quote and an escaped backslash too, whether it has these or not
(llguidance 1.9.1: `[^"]` took `\\"`; one of 784 answers at temperature 1.5 showed it). So NUL is taken out of each set:
no text of a model's has it, and what fits the narrower pattern fits the wider one.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(
    r"\\(?:[pP](?:\{[^}]*\}|.)|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|u\{[0-9A-Fa-f]+\}|u[0-9A-Fa-f]{4}|.)", re.S
)
_NUL = re.compile(r"\\(?:x\{0+\}|x00|u\{0+\}|u0000|0)|\0")


def without_nul(pattern: str) -> str:
    """The pattern (in the syntax of Rust's regex) with no NUL in any set, nor by itself. What is not valid stays so:
    llguidance says it."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern[at] == "[":
            end = _set_end(pattern, at)
            found.append(f"[{pattern[at:end]}--[\\x00]]")
        else:
            escape = _ESCAPE.match(pattern, at)
            end = escape.end() if escape else at + 1
            part = pattern[at:end]
            has_nul = part[:2] in ("\\p", "\\P") or _NUL.fullmatch(part)
            found.append(f"[{part}--[\\x00]]" if has_nul else part)
        at = end
    return "".join(found)


def _set_end(pattern: str, begin: int) -> int:
    """Behind the bracket that closes the set; sets nest."""
    depth, at = 0, begin
    while at < len(pattern):
        if escape := _ESCAPE.match(pattern, at):
            at = escape.end()
            continue
        if pattern[at] == "[":
            depth += 1
            at += 1
            at += pattern[at : at + 1] == "^"
            at += pattern[at : at + 1] == "]"  # the first of a set is a character
            continue
        depth -= pattern[at] == "]"
        at += 1
        if depth == 0:
            return at
    return len(pattern)
