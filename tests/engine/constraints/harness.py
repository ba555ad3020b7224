"""Constraints on a vocabulary of bytes: token 300 is a control token, 301 ends an answer."""

from __future__ import annotations

import ctypes

from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.constraints.guide import Guide, Matcher, TokenTable

CONTROL, END = 300, 301


@ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32),
                  ctypes.c_int32, ctypes.c_bool, ctypes.c_bool)  # fmt: skip
def _tokenize(_vocab, text, size, tokens, room, _special, _parse):  # type: ignore[no-untyped-def]
    """As llama_tokenize: each byte is a token."""
    if size > room:
        return -size
    for i in range(size):
        tokens[i] = text[i]
    return size


def _table() -> TokenTable:
    words = [b"ab", b'":', b"true", b" the", b"\xc3", b"{}"]
    pieces = [*(bytes([i]) for i in range(256)), *words]
    pieces += [b""] * (CONTROL - len(pieces)) + [b"\xff<|tool|>", b"\xff</s>"]
    return TokenTable(pieces, [END], 1, ctypes.cast(_tokenize, ctypes.c_void_p).value or 0)


guide = Guide(_table)


def matcher(constraint: Constraint) -> Matcher:
    (made,) = guide.matchers(constraint, 1)
    return made


def accepts(constraint: Constraint, text: str) -> bool:
    """Whether it is a whole answer, byte by byte."""
    made = matcher(constraint)
    return all(made.take(byte) for byte in text.encode()) and made.take(END)
