"""A model's vocabulary as llguidance has it, and what a constraint says of the next token."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.constraints.native import NativeMatcher, NativeTokenizer, TokenizeFn
from threadrunner.engine.constraints.stack import deeply
from threadrunner.engine.llama.errors import BadGrammar

if TYPE_CHECKING:
    # in functions only: together they take 100 ms to load, and most requests have no constraint
    import numpy as np
    from numpy.typing import NDArray


_LlamaTokenize = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32,
    ctypes.c_bool, ctypes.c_bool,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TokenTable:
    """What llguidance is told of a vocabulary."""

    pieces: list[bytes]
    """By token. Those that are no text (control tokens) begin with the byte FF, which no text has."""
    ends: list[int]
    """Tokens that end an answer."""
    vocabulary: int
    """The addresses of llama.cpp's vocabulary and of its tokenizer, which say how a text is usually written."""
    tokenize: int


class Guide:
    """Makes matchers for one model. Its tokenizer takes 0.3 to 2 s (49,000 and 262,000 tokens), and memory: `begin` has
    it made on another thread when the first constraint is asked for, `ready` says when that may go on without a wait.
    """

    def __init__(self, table: Callable[[], TokenTable]) -> None:
        """`table` is called on that thread."""
        self._table = table
        self._made: _Vocabulary | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def making(self) -> bool:
        """Whether the other thread is at work."""
        return self._thread is not None and not self._done.is_set()

    @property
    def ready(self) -> bool:
        return self._done.is_set()

    def begin(self) -> None:
        """Have the tokenizer made, if that was not begun yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._make, name="constraints", daemon=True)
            self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """At most so long, until it is ready; whether it is."""
        return self._done.wait(seconds)

    def close(self) -> None:
        """Before the model is: what reads its vocabulary has ended then."""
        if self._thread is not None:
            self._thread.join()

    def matchers(self, constraint: Constraint, count: int) -> list[Matcher]:
        """One for each candidate: compiled once, then copied. Waits for the tokenizer. Raises BadGrammar."""
        vocabulary = self._vocabulary()

        def compiled() -> NativeMatcher:
            return NativeMatcher.of(vocabulary.tokenizer, constraint.grammar)

        first = deeply(compiled) if constraint.deep else compiled()
        _check(first)
        return [Matcher(core, vocabulary) for core in (first, *(first.copy() for _ in range(count - 1)))]

    def _vocabulary(self) -> _Vocabulary:
        self.begin()
        self._done.wait()
        if self._made is None:
            raise BadGrammar(f"this model's vocabulary cannot be held to a grammar: {self._error}")
        return self._made

    def _make(self) -> None:
        try:
            with _often_switched():
                # both are needed next, and take 100 ms to load
                importlib.import_module("llguidance")
                importlib.import_module("numpy")
                table = self._table()
                # an end of its own, behind the vocabulary: some models have none, ours end where the grammar accepts
                pieces = [*table.pieces, b"\xff<|threadrunner_end|>"]
                tokenizer = NativeTokenizer(pieces, len(table.pieces), _usual_way(table))
            self._made = _Vocabulary(tokenizer, frozenset(table.ends), len(table.pieces))
        except Exception as error:
            self._error = error
        finally:
            self._done.set()


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    tokenizer: NativeTokenizer
    ends: frozenset[int]
    size: int


@contextlib.contextmanager
def _often_switched() -> Iterator[None]:
    """While within, this thread gives way to others every 0.2 ms. The usual 5 ms are waited for by each call of C that
    another thread makes, of which a token has about 20."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _usual_way(table: TokenTable) -> Any:
    """How the vocabulary writes a text that goes on, as a TokenizeFn: some put a blank before each text that begins, so
    it is written behind a token that none of the others continues, which is taken away again."""
    call, vocabulary = _LlamaTokenize(table.tokenize), table.vocabulary  # `table` itself is large, and not kept

    def tokens(text: bytes) -> list[int]:
        room = (ctypes.c_int32 * (len(text) + 8))()
        count = call(vocabulary, text, len(text), room, len(room), False, False)
        return room[: max(0, count)]

    plain = b"".join(table.pieces[token] for token in tokens(b"a")) == b"a"
    before = b"" if plain else _uncontinued(table.pieces)
    skip = len(tokens(before)) if before else 0

    def tokenize(_: int | None, text: int, size: int, into: int, room: int) -> int:
        found = tokens(before + ctypes.string_at(text, size))[skip:] if size else []
        if count := min(len(found), room):
            (ctypes.c_int32 * count).from_address(into)[:] = found[:count]  # type: ignore[assignment]
        return len(found)

    return TokenizeFn(tokenize)


def _uncontinued(pieces: list[bytes]) -> bytes:
    """A control character with a token of its own that begins no other token, alone or behind a blank."""
    begun = {piece[:1] for piece in pieces if len(piece) > 1} | {piece[1:2] for piece in pieces if piece[:1] == b" "}
    known = set(pieces)
    return next((byte for byte in map(bytes, zip(range(1, 32))) if byte in known and byte not in begun), b"\n")


class Matcher:
    """Where one candidate stands in its constraint."""

    def __init__(self, core: NativeMatcher, vocabulary: _Vocabulary) -> None:
        import numpy as np

        self._core = core
        self._ends = vocabulary.ends
        self._size = vocabulary.size
        self._bits = np.zeros(self._size // 32 + 1, np.uint32)
        """One for each token, and one for the end behind them."""

    def take(self, token: int) -> bool:
        """Go on by this token, if it fits: one that ends the answer does where the constraint is fulfilled. Raises
        BadGrammar where the constraint has become too costly to follow."""
        taken = self._core.take(token)
        _check(self._core)
        return taken or (token in self._ends and self._core.accepting)

    def take_text(self, text: bytes) -> bool:
        """As `take`, by a text that need not be whole characters."""
        taken = self._core.take_text(text)
        _check(self._core)
        return taken

    def allowed(self) -> NDArray[np.intp]:
        """The tokens that `take` would take, in order. Raises BadGrammar, as `take` does."""
        import numpy as np

        bits = self._bits
        self._core.fill(bits.ctypes.data, bits.nbytes)
        _check(self._core)
        mask = np.unpackbits(bits.view(np.uint8), count=self._size, bitorder="little")
        if self._core.accepting:
            mask[list(self._ends)] = 1
        return np.flatnonzero(mask)

    def forced(self) -> list[int]:
        """The tokens that must come next, as far as there is no choice; none after an error."""
        return self._core.forced()

    @property
    def complete(self) -> bool:
        """Nothing but an end can follow."""
        return self._core.stopped


def _check(core: NativeMatcher) -> None:
    """Raises BadGrammar."""
    text = core.error()
    if text is not None:
        error = text.splitlines()[0]
        if "NoExtension" in error:
            raise BadGrammar("the grammar leaves the model nothing to say")
        raise BadGrammar(f"the grammar cannot be followed: {error}")
