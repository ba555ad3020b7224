"""File names as text: what a name that is no text, or has a line break in it, is shown as, and what was meant by that.

A file's name on Unix is bytes. Python keeps those that are not UTF-8 as lone surrogates, which no JSON and no terminal
takes: such a name is shown with escapes (`caf\\xe9.gguf`), and the file can be named that way. Pure.
"""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of characters: controls, surrogates, separators of lines and of paragraphs."""
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")
_FIRST_SURROGATE = 0xDC00
"""Python's surrogate for a byte that is not UTF-8 is this plus the byte."""


def printable(name: str) -> str:
    """The name on one line, in characters that can be encoded: unchanged if it is that already."""
    if name.isprintable() or not any(unicodedata.category(character) in _HIDDEN for character in name):
        return name
    return "".join(map(_escaped, name))


def meant(shown: str) -> str:
    """The name that `printable` shows as this text; the text itself if it holds none of its escapes."""
    return _ESCAPE.sub(_unescaped, shown) if "\\" in shown else shown


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if unicodedata.category(character) not in _HIDDEN:
        return character
    if _FIRST_SURROGATE + 0x80 <= code <= _FIRST_SURROGATE + 0xFF:
        return f"\\x{code - _FIRST_SURROGATE:02x}"
    return f"\\u{code:04x}"


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(_FIRST_SURROGATE + int(match[1], 16)) if int(match[1], 16) >= 0x80 else match[0]
    return chr(int(match[2], 16)) if match[2] else "\\"
