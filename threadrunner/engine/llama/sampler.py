"""From logits to a token: one llama.cpp sampler chain a candidate, and a grammar beside it."""

from __future__ import annotations

import ctypes
import math
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.errors import BadGrammar, DamagedModel
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.vocab import Vocab

if TYPE_CHECKING:
    # in functions only, since numpy takes 60 ms to load: grammars, healing and logprobs alone read logits in Python
    import numpy as np
    from numpy.typing import NDArray

PENALTY_WINDOW = 64
MIN_TEMPERATURE = 1e-5
"""Below it the choice is greedy: at 1e-38 a logit divided by it is infinite, and two of them differ by NaN."""
MIN_PENALTY, MAX_PENALTY = 1e-3, 1e3
"""Likewise: logits are divided and multiplied by it."""
_NEVER = -math.inf
_NO_NUMBERS = "the model's scores are not numbers (NaN): its weights are damaged, or too large for their type"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen: as in api.generation, the grammar as GBNF."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    seed: int | None = None
    grammar: str | None = None
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Logprob:
    """A token, its log-probability, and the likeliest tokens at its place with theirs, the likeliest first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class _Candidates:
    """A llama_token_data_array over the whole vocabulary, filled from logits by numpy."""

    def __init__(self, n_vocab: int) -> None:
        import numpy as np

        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._data = np.zeros(n_vocab, dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
        self.array = llama_cpp.llama_token_data_array()
        self.array.data = self._data.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))

    def fill(self, logits: NDArray[np.float32], allowed: list[int] | None) -> None:
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
    """Chooses the tokens of one candidate; its state is what the candidate has said so far.

    `forced` are bytes that the answer must begin with: only tokens that agree with them pass until they are said.
    """

    def __init__(self, model: Model, vocab: Vocab, sampling: Sampling, seed: int, forced: bytes = b"") -> None:
        """Raises BadGrammar."""
        self._to_free: list[llama_cpp.llama_sampler_p] = []
        self._n_vocab = model.n_vocab
        self._vocab = vocab
        self._logprobs = sampling.logprobs
        self._forced = forced
        self._grammar = None
        if sampling.grammar is not None:
            self._grammar = _init_grammar(model, sampling.grammar)
            self._to_free.append(self._grammar)
        self._penalizes = sampling.repeat_penalty != 1.0
        params = llama_cpp.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain = llama_cpp.llama_sampler_chain_init(params)
        self._to_free.append(self._chain)
        for sampler in _chain(sampling, seed, model.n_vocab):
            llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def see_prompt(self, tokens: list[int]) -> None:
        """The repeat penalty counts the prompt's last tokens too."""
        if self._penalizes:
            for token in tokens[-PENALTY_WINDOW:]:
                llama_cpp.llama_sampler_accept(self._chain, token)

    def sample(self, context: Context, index: int) -> tuple[int, Logprob | None]:
        """The next token after the batch's `index`. Raises BadGrammar when the grammar leaves no token, DamagedModel
        when the model gave no numbers to choose by."""
        logits = context.logits(index)
        # One NaN within the network makes all logits NaN, and llama.cpp's sort by size has no place for it. That is all
        # that is looked at: reading 150,000 floats for each token would cost more than choosing it.
        if not logits or math.isnan(logits[0]):
            raise DamagedModel(_NO_NUMBERS)
        if self._grammar is None and not self._forced:
            token = llama_cpp.llama_sampler_sample(self._chain, context.handle, index)
        else:
            token = self._sample_constrained(context, index)
        if not math.isfinite(logits[token]):
            raise DamagedModel(_NO_NUMBERS)
        logprob = None if self._logprobs is None else self._logprob(context, index, token, self._logprobs)
        return token, logprob

    def _sample_constrained(self, context: Context, index: int) -> int:
        grammar = self._grammar
        if grammar is not None and not self._forced and not self._penalizes:
            # nearly always the unconstrained choice fits, and asking for one token costs nothing beside asking for all
            token = llama_cpp.llama_sampler_sample(self._chain, context.handle, index)
            if _fits(grammar, token):
                llama_cpp.llama_sampler_accept(grammar, token)
                return token
        candidates = _candidates(self._n_vocab)
        candidates.fill(self._logits(context, index), self._vocab.agreeing(self._forced) if self._forced else None)
        array = ctypes.byref(candidates.array)
        if grammar is not None:
            llama_cpp.llama_sampler_apply(grammar, array)
            if not candidates.any_possible():
                raise BadGrammar("the grammar leaves the model nothing to say")
        llama_cpp.llama_sampler_apply(self._chain, array)
        token = int(candidates.array.data[candidates.array.selected].id)
        llama_cpp.llama_sampler_accept(self._chain, token)
        if grammar is not None:
            # accepting a token that the grammar refuses ends the process; a chain may still pick one of probability 0
            if not _fits(grammar, token):
                raise BadGrammar("the grammar leaves the model nothing to say")
            llama_cpp.llama_sampler_accept(grammar, token)
        self._forced = self._forced[len(self._vocab.piece(token)) :]
        return token

    def _logits(self, context: Context, index: int) -> NDArray[np.float32]:
        import numpy as np

        return np.ctypeslib.as_array(context.logits(index), shape=(self._n_vocab,))

    def _logprob(self, context: Context, index: int, token: int, count: int) -> Logprob:
        """By the model's own distribution, before temperature and cuts."""
        import numpy as np

        logits = self._logits(context, index).astype(np.float64)
        logits -= np.logaddexp.reduce(logits)
        count = min(count, self._n_vocab)
        top = np.argpartition(logits, -count)[-count:].tolist() if count else []
        ranked = sorted(((token, float(logits[token])) for token in top), key=lambda pair: -pair[1])
        return Logprob(token, float(logits[token]), tuple(pair for pair in ranked if pair[1] > _NEVER))

    def close(self) -> None:
        """May be called again; nothing else may be called after it."""
        while self._to_free:
            llama_cpp.llama_sampler_free(self._to_free.pop())

    def __del__(self) -> None:
        self.close()


def _fits(grammar: llama_cpp.llama_sampler_p, token: int) -> bool:
    one = llama_cpp.llama_token_data(token, 1.0, 0.0)
    array = llama_cpp.llama_token_data_array(ctypes.pointer(one), 1, -1, False)
    llama_cpp.llama_sampler_apply(grammar, ctypes.byref(array))
    return one.logit > _NEVER


def _chain(sampling: Sampling, seed: int, n_vocab: int) -> list[llama_cpp.llama_sampler_p]:
    """llama.cpp's own order: penalties, cuts, temperature, choice. Numbers that C's types would wrap are bounded."""
    chain = []
    if sampling.repeat_penalty != 1.0:
        penalty = min(max(MIN_PENALTY, sampling.repeat_penalty), MAX_PENALTY)
        chain.append(llama_cpp.llama_sampler_init_penalties(n_vocab, PENALTY_WINDOW, penalty, 0.0, 0.0))
    if not sampling.temperature >= MIN_TEMPERATURE:
        return [*chain, llama_cpp.llama_sampler_init_greedy()]
    if sampling.top_k > 0:
        chain.append(llama_cpp.llama_sampler_init_top_k(min(sampling.top_k, n_vocab)))
    if sampling.top_p < 1.0:
        chain.append(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0.0:
        chain.append(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
    return [*chain, llama_cpp.llama_sampler_init_temp(sampling.temperature), llama_cpp.llama_sampler_init_dist(seed)]


def _init_grammar(model: Model, grammar: str) -> llama_cpp.llama_sampler_p:
    """llama.cpp's parser writes what it dislikes to stderr and nowhere else, so stderr is a file for that moment.
    Raises BadGrammar."""
    if "\0" in grammar:
        raise BadGrammar("a grammar cannot contain the character NUL")
    with tempfile.TemporaryFile() as captured:
        stderr = os.dup(2)
        try:
            os.dup2(captured.fileno(), 2)
            made = llama_cpp.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        if made:
            return made
        captured.seek(0)
        first_line = captured.read(4096).decode("utf-8", "replace").partition("\n")[0]
        complaint = first_line.partition("error parsing grammar: ")[2]
    complaint = complaint or "it needs a rule named root, and no left recursion"
    raise BadGrammar(f"not a grammar that llama.cpp understands: {complaint}")
