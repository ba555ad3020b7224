"""llguidance by its C interface, which its Python package's library has too.

Its Python interface holds the interpreter's lock while it makes a tokenizer: 0.14 s for 49,000 tokens, 0.45 s for
152,000, 1.1 s for 262,000, in which no other thread, so no other request, moves on. ctypes gives the lock away. The
structs are those of llguidance.h, which pyproject.toml therefore pins.
"""

from __future__ import annotations

import ctypes
import importlib.util
from ctypes import c_bool, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from threadrunner.engine.constraints.limits import LIMITS

TokenizeFn = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)
_FORCED = 256
"""Tokens that are looked ahead at most where there is no choice."""


class _Limits(ctypes.Structure):
    _fields_ = (
        ("max_items_in_row", c_size_t),
        ("initial_lexer_fuel", c_uint64),
        ("step_lexer_fuel", c_uint64),
        ("step_max_items", c_size_t),
        ("max_lexer_states", c_size_t),
        ("max_grammar_size", c_size_t),
        ("precompute_large_lexemes", c_bool),
        ("verbose_errors", c_bool),
    )


class _ConstraintInit(ctypes.Structure):
    _fields_ = (
        ("tokenizer", c_void_p),
        ("log_buffer_level", c_uint32),
        ("log_stderr_level", c_uint32),
        ("ff_tokens_ok", c_bool),
        ("backtrack_ok", c_bool),
        ("limits", _Limits),
    )


class _TokenizerInit(ctypes.Structure):
    """LlgTokenizerInitV2."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("vocab_size", c_uint32),
        ("tok_eos", c_uint32),
        ("token_lens", c_void_p),
        ("token_bytes", c_char_p),
        ("tokenizer_json", c_char_p),
        ("tokenize_assumes_string", c_bool),
        ("tokenize_fn", TokenizeFn),
        ("use_approximate_greedy_tokenize_fn", c_bool),
        ("tokenize_user_data", c_void_p),
        ("slices", c_void_p),
        ("tok_eos_extra", c_void_p),
        ("tok_eos_extra_count", c_uint32),
    )


_SIGNATURES = {
    "llg_new_tokenizer_v2": (c_void_p, ctypes.POINTER(_TokenizerInit), c_char_p, c_size_t),
    "llg_free_tokenizer": (None, c_void_p),
    "llg_tokenize_bytes": (c_size_t, c_void_p, c_char_p, c_size_t, c_void_p, c_size_t),
    "llg_constraint_init_set_defaults": (None, ctypes.POINTER(_ConstraintInit), c_void_p),
    "llg_new_matcher": (c_void_p, ctypes.POINTER(_ConstraintInit), c_char_p, c_char_p),
    "llg_clone_matcher": (c_void_p, c_void_p),
    "llg_free_matcher": (None, c_void_p),
    "llg_matcher_validate_tokens": (c_int32, c_void_p, c_void_p, c_size_t),
    "llg_matcher_consume_tokens": (c_int32, c_void_p, c_void_p, c_size_t),
    "llg_matcher_compute_mask_into": (c_int32, c_void_p, c_void_p, c_size_t),
    "llg_matcher_compute_ff_tokens": (c_int32, c_void_p, c_void_p, c_size_t),
    "llg_matcher_is_accepting": (c_bool, c_void_p),
    "llg_matcher_is_stopped": (c_bool, c_void_p),
    "llg_matcher_is_error": (c_bool, c_void_p),
    "llg_matcher_get_error": (c_char_p, c_void_p),
}


@cache
def _library() -> ctypes.CDLL:
    found = importlib.util.find_spec("llguidance")
    assert found is not None and found.origin is not None, "pyproject.toml asks for it"
    file = next(Path(found.origin).parent.glob("_lib*.so"))
    library = ctypes.CDLL(str(file))
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class NativeTokenizer:
    """A vocabulary as llguidance has it."""

    def __init__(self, pieces: list[bytes], end: int, tokenize: Any) -> None:
        """`tokenize`, a TokenizeFn, is called on any thread, with UTF-8. Raises ValueError."""
        self._tokenize = tokenize  # C keeps its address
        self._lib = _library()
        lengths = (c_uint32 * len(pieces))(*map(len, pieces))
        init = _TokenizerInit()
        init.struct_size = ctypes.sizeof(init)
        init.vocab_size, init.tok_eos = len(pieces), end
        init.token_lens, init.token_bytes = ctypes.addressof(lengths), b"".join(pieces)
        init.tokenize_assumes_string, init.tokenize_fn = True, tokenize
        error = ctypes.create_string_buffer(256)
        self.handle: int | None = self._lib.llg_new_tokenizer_v2(init, error, len(error))
        if not self.handle:
            raise ValueError(f"llguidance does not take the vocabulary: {error.value.decode('utf-8', 'replace')}")

    def tokens(self, text: bytes) -> ctypes.Array[c_uint32]:
        """Of a text that need not be whole characters."""
        room = (c_uint32 * (len(text) + 1))()
        count = self._lib.llg_tokenize_bytes(self.handle, text, len(text), room, len(room))
        tokens: ctypes.Array[c_uint32] = (c_uint32 * count)(*room[:count])
        return tokens

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._lib.llg_free_tokenizer(self.handle)


class NativeMatcher:
    """A place in a grammar. It keeps its tokenizer."""

    def __init__(self, tokenizer: NativeTokenizer, handle: int) -> None:
        self._lib = _library()
        self._tokenizer = tokenizer
        self._handle = handle
        self._one = (c_uint32 * 1)()
        self._forced = (c_uint32 * _FORCED)()

    @classmethod
    def of(cls, tokenizer: NativeTokenizer, grammar: str) -> NativeMatcher:
        """Compiled; `error` says whether that worked."""
        library, init = _library(), _ConstraintInit()
        library.llg_constraint_init_set_defaults(init, tokenizer.handle)
        init.log_buffer_level = init.log_stderr_level = 0
        for name, value in LIMITS.items():
            setattr(init.limits, name, value)
        return cls(tokenizer, library.llg_new_matcher(init, b"llguidance", grammar.encode()))

    def copy(self) -> NativeMatcher:
        return NativeMatcher(self._tokenizer, self._lib.llg_clone_matcher(self._handle))

    def error(self) -> str | None:
        """None: there is none. After one it goes nowhere."""
        if not self._lib.llg_matcher_is_error(self._handle):
            return None
        text: bytes | None = self._lib.llg_matcher_get_error(self._handle)
        return (text or b"unknown").decode("utf-8", "replace")

    def take(self, token: int) -> bool:
        """Go on by this token, if it fits."""
        self._one[0] = token
        return self._take(self._one, 1)

    def take_text(self, text: bytes) -> bool:
        """Go on by this text, if all of it fits."""
        tokens = self._tokenizer.tokens(text)
        return self._take(tokens, len(tokens))

    def _take(self, tokens: ctypes.Array[c_uint32], count: int) -> bool:
        fits: int = self._lib.llg_matcher_validate_tokens(self._handle, tokens, count)
        taken: int = self._lib.llg_matcher_consume_tokens(self._handle, tokens, count) if fits == count else -1
        return taken == 0

    def fill(self, mask: int, size: int) -> None:
        """Write a bit for each token that fits to this address, `size` bytes."""
        self._lib.llg_matcher_compute_mask_into(self._handle, mask, size)

    def forced(self) -> list[int]:
        count: int = self._lib.llg_matcher_compute_ff_tokens(self._handle, self._forced, _FORCED)
        return self._forced[: max(0, count)]

    @property
    def accepting(self) -> bool:
        """An end may follow."""
        fulfilled: bool = self._lib.llg_matcher_is_accepting(self._handle)
        return fulfilled

    @property
    def stopped(self) -> bool:
        """Nothing else may follow."""
        stopped: bool = self._lib.llg_matcher_is_stopped(self._handle)
        return stopped

    def __del__(self) -> None:
        self._lib.llg_free_matcher(self._handle)
