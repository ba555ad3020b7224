"""A model's vocabulary as llguidance has it, and what a constraint says of the next token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.constraints.limits import limits
from threadrunner.engine.constraints.stack import deeply
from threadrunner.engine.llama.errors import BadGrammar

if TYPE_CHECKING:
    # in functions only: together they take 100 ms to load, and most requests have no constraint
    import numpy as np
    from llguidance import LLMatcher, LLTokenizer
    from numpy.typing import NDArray


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
    """Makes matchers for one model. Its tokenizer (0.2 s for 50,000 tokens) is made when the first one is asked for."""

    def __init__(self, table: Callable[[], TokenTable]) -> None:
        self._table = table
        self._tokenizer: LLTokenizer | None = None
        self._ends: frozenset[int] = frozenset()
        self._size = 0

    def matchers(self, constraint: Constraint, count: int) -> list[Matcher]:
        """One for each candidate: compiled once, then copied. Raises BadGrammar."""
        from llguidance import LLMatcher

        tokenizer = self._tokenizer or self._make_tokenizer()

        def compiled() -> LLMatcher:
            return LLMatcher(tokenizer, constraint.grammar, log_level=0, limits=limits())

        first = deeply(compiled) if constraint.deep else compiled()
        _check(first)
        cores = [first, *(first.deep_copy() for _ in range(count - 1))]
        return [Matcher(core, tokenizer, self._ends, self._size) for core in cores]

    def _make_tokenizer(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        table = self._table()
        self._ends, self._size = frozenset(table.ends), len(table.pieces)
        # an end of its own, behind the vocabulary: some models have none, and ours end where the grammar accepts
        self._tokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
            tokens=[*table.pieces, b"\xff<|threadrunner_end|>"],
            vocab_ptr=table.vocabulary,
            tokenize_fptr=table.tokenize,
            eos_token=self._size,
            slices=None,
        )
        assert self._tokenizer is not None
        return self._tokenizer


class Matcher:
    """Where one candidate stands in its constraint."""

    def __init__(self, core: LLMatcher, tokenizer: LLTokenizer, ends: frozenset[int], size: int) -> None:
        import numpy as np

        self._core = core
        self._tokenizer = tokenizer
        self._ends = ends
        self._size = size
        self._bits = np.zeros(size // 32 + 1, np.uint32)
        """One for each token, and one for the end behind them."""

    def take(self, token: int) -> bool:
        """Go on by this token, if it fits: one that ends the answer does where the constraint is fulfilled. Raises
        BadGrammar where the constraint has become too costly to follow."""
        taken: int = self._core.try_consume_tokens([token])
        _check(self._core)
        return taken == 1 or (token in self._ends and self._core.is_accepting())

    def take_text(self, text: bytes) -> bool:
        """As `take`, by a text that need not be whole characters."""
        tokens = self._tokenizer.tokenize_bytes(text)
        taken = self._core.try_consume_tokens(tokens)
        _check(self._core)
        if taken == len(tokens):
            return True
        self._core.rollback(taken)
        return False

    def allowed(self) -> NDArray[np.intp]:
        """The tokens that `take` would take, in order. Raises BadGrammar, as `take` does."""
        import numpy as np

        bits = self._bits
        self._core.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        _check(self._core)
        mask = np.unpackbits(bits.view(np.uint8), count=self._size, bitorder="little")
        if self._core.is_accepting():
            mask[list(self._ends)] = 1
        return np.flatnonzero(mask)

    @property
    def complete(self) -> bool:
        """Nothing but an end can follow."""
        return self._core.is_stopped()


def _check(core: LLMatcher) -> None:
    """Raises BadGrammar."""
    if core.is_error():
        error = core.get_error().splitlines()[0]
        if "NoExtension" in error:
            raise BadGrammar("the grammar leaves the model nothing to say")
        raise BadGrammar(f"the grammar cannot be followed: {error}")
