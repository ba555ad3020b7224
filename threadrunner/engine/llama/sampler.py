"""From logits to a token: one llama.cpp sampler chain a candidate, and a constraint beside it."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from threadrunner.engine.constraints.guide import Matcher
from threadrunner.engine.llama import arrays, chain
from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.errors import BadGrammar, DamagedModel
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.logprobs import Logprob, logprob_of
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.engine.llama.vocab import Vocab

if TYPE_CHECKING:
    # in functions only, since numpy takes 60 ms to load: constraints, healing and logprobs need it, and nothing else
    import numpy as np
    from numpy.typing import NDArray

_NEVER = _LOWEST = -math.inf
_HIGHEST = math.inf
_NO_NUMBERS = "the model's scores are not numbers (NaN): its weights are damaged, or too large for their type"
_NOTHING_TO_SAY = "the grammar leaves the model nothing to say"


class _Candidates:
    """A llama_token_data_array over the whole vocabulary, filled from logits by numpy."""

    def __init__(self, n_vocab: int) -> None:
        import numpy as np

        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._data = np.zeros(n_vocab, dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
        self.array = llama_cpp.llama_token_data_array()
        self.array.data = self._data.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))

    def fill(self, logits: NDArray[np.float32], allowed: NDArray[np.intp] | None) -> None:
        """All tokens with their logits, or only the allowed ones."""
        data = self._data
        count = len(data) if allowed is None else len(allowed)
        data["id"][:count] = self._ids if allowed is None else allowed
        data["logit"][:count] = logits if allowed is None else logits[allowed]
        data["p"][:count] = 0
        self.array.size = count
        self.array.selected = -1
        self.array.sorted = False

    def any_possible(self) -> bool:
        return bool((self._data["logit"][: self.array.size] > _NEVER).any())


@lru_cache(maxsize=1)
def _candidates(n_vocab: int) -> _Candidates:
    return _Candidates(n_vocab)


class Sampler:
    """Chooses the tokens of one candidate; its state is what the candidate has said so far."""

    def __init__(
        self,
        model: Model,
        vocab: Vocab,
        sampling: Sampling,
        seed: int,
        *,
        forced: bytes = b"",
        matcher: Matcher | None = None,
        stop_tokens: frozenset[int] = frozenset(),
    ) -> None:
        """`forced` are bytes that the answer must begin with: only tokens that agree with them pass until they are
        said. What comes after them is for the `matcher`. `stop_tokens` end the answer beside the model's own ends."""
        self._to_free: list[llama_cpp.llama_sampler_p] = []
        self._n_vocab = model.n_vocab
        self._vocab = vocab
        self._logprobs = sampling.logprobs
        self._forced = forced
        self._matcher = matcher
        self._remembers = _memory(sampling)
        self._is_mirostat = sampling.mirostat != 0
        self._endless_until = math.inf if sampling.ignore_eos else sampling.min_tokens
        self._ends = [*{*vocab.ends(), *stop_tokens}] if self._endless_until else []
        self._simple = chain.is_greedy(sampling) and not self._endless_until and sampling.logprobs is None
        self._chosen = 0
        params = llama_cpp.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain = llama_cpp.llama_sampler_chain_init(params)
        self._to_free.append(self._chain)
        for sampler in chain.samplers(sampling, seed, model):
            llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def see_prompt(self, tokens: list[int]) -> None:
        """Penalties count the prompt's last tokens too."""
        if self._remembers:
            for token in tokens[-self._remembers :]:
                llama_cpp.llama_sampler_accept(self._chain, token)

    @property
    def complete(self) -> bool:
        """Nothing can follow what was said."""
        return self._matcher is not None and not self._forced and self._matcher.complete

    def compelled(self) -> list[int]:
        """Tokens that must come next, since the constraint leaves no choice. They are in the way of no choice that the
        sampler makes: it will say them too, or the same text in other tokens."""
        return [] if self._matcher is None or self._forced else self._matcher.forced()

    @property
    def constrained(self) -> bool:
        return self._matcher is not None

    def follow(self, matcher: Matcher | None) -> None:
        """From here on, in place of what was followed before."""
        self._matcher = matcher

    def told(self, token: int) -> None:
        """Another has chosen. What the constraint does not allow, as blanks between a thought and JSON, is no part of
        what it is about."""
        if self._matcher is not None:
            self._matcher.take(token)
        if self._remembers:
            llama_cpp.llama_sampler_accept(self._chain, token)

    def begin_free(self, tokens: frozenset[int], context: Context, index: int) -> int | None:
        """The choice without the constraint, which holds no more, if it is among these tokens; else None."""
        logits = context.row(index)
        if math.isnan(logits[0]) or (token := self._choose(logits, None)) not in tokens:
            return None
        self._matcher = None
        self._chosen += 1
        return token

    def sample(self, context: Context, index: int) -> tuple[int, Logprob | None]:
        """The next token after the batch's `index`. Raises BadGrammar when the constraint leaves no token, DamagedModel
        when the model gave no numbers to choose by."""
        if self._simple and self._matcher is None and not self._forced and arrays.ready():
            token = _highest(context.row(index))
            if token is not None:
                return token, None
        logits = context.logits(index)
        # One NaN within the network makes all logits NaN, and llama.cpp's sort by size has no place for it. That is all
        # that is looked at: reading 150,000 floats for each token would cost more than choosing it.
        if not logits or logits[0] != logits[0]:
            raise DamagedModel(_NO_NUMBERS)
        if self._chosen < self._endless_until:
            with _forbidden(logits, self._ends):
                token = self._sample_any(context, index)
        elif self._matcher is None and not self._forced:
            token = llama_cpp.llama_sampler_sample(self._chain, context.handle, index)
        else:
            token = self._sample_constrained(context, index)
        self._chosen += 1
        if not _LOWEST < logits[token] < _HIGHEST:
            raise DamagedModel(_NO_NUMBERS)
        if self._logprobs is None:
            return token, None
        return token, logprob_of(context.row(index), token, self._logprobs)

    def _sample_any(self, context: Context, index: int) -> int:
        if self._matcher is None and not self._forced:
            return llama_cpp.llama_sampler_sample(self._chain, context.handle, index)
        return self._sample_constrained(context, index)

    def _sample_constrained(self, context: Context, index: int) -> int:
        """Nearly always the unconstrained choice fits, and asking for one token costs nothing beside asking for all."""
        logits = context.row(index)
        if not self._forced and not self._is_mirostat:  # which learns from each choice
            if self._remembers:
                token = self._choose(logits, None)
            else:
                token = llama_cpp.llama_sampler_sample(self._chain, context.handle, index)
            if self._takes(token):
                return token
        allowed = self._allowed()
        token = self._choose(logits, allowed)
        if not self._takes(token):
            # it goes on after the forced bytes as the constraint does not; one that ends with them always may be said
            within = [t for t in allowed.tolist() if len(self._vocab.piece(t)) <= len(self._forced)]
            token = self._choose(logits, _ids(within))
            if not self._takes(token):
                raise BadGrammar(_NOTHING_TO_SAY)
        return token

    def _allowed(self) -> NDArray[np.intp]:
        if self._forced:
            return _ids(self._vocab.agreeing(self._forced))
        assert self._matcher is not None
        return self._matcher.allowed()

    def _choose(self, logits: NDArray[np.float32], allowed: NDArray[np.intp] | None) -> int:
        """By the chain, which is not told. Raises BadGrammar."""
        candidates = _candidates(self._n_vocab)
        candidates.fill(logits, allowed)
        if not candidates.any_possible():
            return self._end_among(allowed)
        array = candidates.array
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(array))
        chosen = array.data[array.selected]
        if chosen.logit == _NEVER:
            return self._end_among(allowed)
        return int(chosen.id)

    def _end_among(self, allowed: NDArray[np.intp] | None) -> int:
        """Where all else is forbidden, an end that `min_tokens` does not want yet. Raises BadGrammar."""
        ends = [] if allowed is None else sorted({*self._ends}.intersection(allowed.tolist()))
        if not ends:
            raise BadGrammar(_NOTHING_TO_SAY)
        return ends[0]

    def _takes(self, token: int) -> bool:
        """Go on by this token, if forced bytes and constraint agree to it."""
        matcher = self._matcher
        if self._forced:
            piece = self._vocab.piece(token)
            beyond = piece[len(self._forced) :]
            if matcher is not None and beyond and not matcher.take_text(beyond):
                return False
            self._forced = self._forced[len(piece) :]
        elif matcher is not None and not matcher.take(token):
            return False
        if self._remembers:
            llama_cpp.llama_sampler_accept(self._chain, token)
        return True

    def close(self) -> None:
        """May be called again; nothing else may be called after it."""
        while self._to_free:
            llama_cpp.llama_sampler_free(self._to_free.pop())

    def __del__(self) -> None:
        self.close()


def _highest(scores: NDArray[np.float32]) -> int | None:
    """The first token with the highest score, as llama.cpp's sampler has it; None where that is no number, or one of
    the scores is none. That sampler writes 12 bytes for each token of the vocabulary and reads them again: 75 us of
    49,000 tokens, 370 of 262,000, in a step of 8 and 15 ms; this looks at the scores where they are in 5 and 20."""
    token = int(scores.argmax())  # of a NaN, if there is one
    return token if _LOWEST < scores.item(token) < _HIGHEST else None


def _memory(sampling: Sampling) -> int:
    """How many tokens the chain remembers; where it remembers any it must be told of what is chosen, once."""
    penalties = chain.window_of(sampling.penalty_window) if sampling.penalizes else 0
    return max(penalties, chain.window_of(sampling.dry_window) if sampling.dry_multiplier else 0)


def _ids(tokens: list[int]) -> NDArray[np.intp]:
    import numpy as np

    return np.array(tokens, np.intp)


@contextmanager
def _forbidden(logits: ctypes._Pointer[ctypes.c_float], tokens: list[int]) -> Iterator[None]:
    """While within, these tokens cannot be chosen."""
    kept = [logits[token] for token in tokens]
    for token in tokens:
        logits[token] = _NEVER
    try:
        yield
    finally:
        for token, score in zip(tokens, kept, strict=True):
            logits[token] = score
