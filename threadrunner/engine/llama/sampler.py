"""From logits to a token: one llama.cpp sampler chain a candidate, and a grammar beside it."""

from __future__ import annotations

import ctypes
import math
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from threadrunner.engine.errors import BadGrammar
from threadrunner.engine.llama.library import Context, L, Model
from threadrunner.engine.llama.vocab import Vocab

PENALTY_WINDOW = 64
_NEVER = -math.inf


@dataclass(frozen=True, slots=True)
class Sampling:
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
    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def _numpy() -> Any:
    """Loaded on first need, it takes 60 ms: only grammars, healing and logprobs read logits in Python."""
    import numpy

    return numpy


class _Candidates:
    """A llama_token_data_array over the whole vocabulary, filled from logits by numpy."""

    def __init__(self, n_vocab: int) -> None:
        np = _numpy()
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._data = np.zeros(n_vocab, dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
        self.array = L.llama_token_data_array()
        self.array.data = self._data.ctypes.data_as(ctypes.POINTER(L.llama_token_data))

    def fill(self, logits: Any, allowed: Any = None) -> None:
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
    """`forced` are bytes that the answer must begin with: only tokens that agree with them pass until they are said."""

    def __init__(self, model: Model, vocab: Vocab, sampling: Sampling, seed: int, forced: bytes = b"") -> None:
        self._n_vocab = model.n_vocab
        self._vocab = vocab
        self._logprobs = sampling.logprobs
        self._forced = forced
        self._chain = self._grammar = None
        self._grammar = _init_grammar(model, sampling.grammar) if sampling.grammar is not None else None
        self._penalizes = sampling.repeat_penalty != 1.0
        params = L.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain = L.llama_sampler_chain_init(params)
        for sampler in _chain(sampling, seed, model.n_vocab):
            L.llama_sampler_chain_add(self._chain, sampler)

    def see_prompt(self, tokens: list[int]) -> None:
        """The repeat penalty counts the prompt's last tokens too."""
        if self._penalizes:
            for token in tokens[-PENALTY_WINDOW:]:
                L.llama_sampler_accept(self._chain, token)

    def sample(self, context: Context, index: int) -> tuple[int, Logprob | None]:
        """The next token after the batch's `index`. Raises BadGrammar when the grammar leaves no token."""
        if self._grammar is None and not self._forced:
            token = int(L.llama_sampler_sample(self._chain, context.handle, index))
        else:
            token = self._sample_constrained(context, index)
        logprob = None if self._logprobs is None else self._logprob(context, index, token, self._logprobs)
        return token, logprob

    def _sample_constrained(self, context: Context, index: int) -> int:
        if not self._forced and not self._penalizes:
            # nearly always the unconstrained choice fits, and asking for one token costs nothing beside asking for all
            token = int(L.llama_sampler_sample(self._chain, context.handle, index))
            if self._fits(token):
                L.llama_sampler_accept(self._grammar, token)
                return token
        candidates = _candidates(self._n_vocab)
        candidates.fill(self._logits(context, index), self._vocab.agreeing(self._forced) if self._forced else None)
        array = ctypes.byref(candidates.array)
        if self._grammar is not None:
            L.llama_sampler_apply(self._grammar, array)
            if not candidates.any_possible():
                raise BadGrammar("the grammar leaves the model nothing to say")
        L.llama_sampler_apply(self._chain, array)
        token = int(candidates.array.data[candidates.array.selected].id)
        L.llama_sampler_accept(self._chain, token)
        if self._grammar is not None:
            # accepting a token that the grammar refuses ends the process; a chain may still pick one of probability 0
            if not self._fits(token):
                raise BadGrammar("the grammar leaves the model nothing to say")
            L.llama_sampler_accept(self._grammar, token)
        self._forced = self._forced[len(self._vocab.piece(token)) :]
        return token

    def _fits(self, token: int) -> bool:
        one = L.llama_token_data(token, 1.0, 0.0)
        array = L.llama_token_data_array(ctypes.pointer(one), 1, -1, False)
        L.llama_sampler_apply(self._grammar, ctypes.byref(array))
        return bool(one.logit > _NEVER)

    def _logits(self, context: Context, index: int) -> Any:
        return _numpy().ctypeslib.as_array(context.logits(index), shape=(self._n_vocab,))

    def _logprob(self, context: Context, index: int, token: int, count: int) -> Logprob:
        """By the model's own distribution, before temperature and cuts."""
        np = _numpy()
        logits = self._logits(context, index).astype(np.float64)
        logits -= np.logaddexp.reduce(logits)
        top = np.argpartition(logits, -count)[-count:] if count else []
        ranked = sorted(((int(i), float(logits[i])) for i in top), key=lambda pair: -pair[1])
        return Logprob(token, float(logits[token]), tuple(ranked))

    def close(self) -> None:
        for sampler in (self._chain, self._grammar):
            if sampler:
                L.llama_sampler_free(sampler)
        self._chain = self._grammar = None

    def __del__(self) -> None:
        self.close()


def _chain(sampling: Sampling, seed: int, n_vocab: int) -> list[Any]:
    """llama.cpp's own order: penalties, cuts, temperature, choice."""
    chain = []
    if sampling.repeat_penalty != 1.0:
        chain.append(L.llama_sampler_init_penalties(n_vocab, PENALTY_WINDOW, sampling.repeat_penalty, 0.0, 0.0))
    if sampling.temperature <= 0.0:
        return [*chain, L.llama_sampler_init_greedy()]
    if sampling.top_k > 0:
        chain.append(L.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1.0:
        chain.append(L.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0.0:
        chain.append(L.llama_sampler_init_min_p(sampling.min_p, 1))
    return [*chain, L.llama_sampler_init_temp(sampling.temperature), L.llama_sampler_init_dist(seed)]


def _init_grammar(model: Model, grammar: str) -> Any:
    """llama.cpp's parser writes what it dislikes to stderr and nowhere else, so stderr is a file for that moment."""
    if "\0" in grammar:
        raise BadGrammar("a grammar cannot contain the character NUL")
    with tempfile.TemporaryFile() as heard:
        stderr = os.dup(2)
        try:
            os.dup2(heard.fileno(), 2)
            made = L.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        if made:
            return made
        heard.seek(0)
        said = heard.read(4096).decode("utf-8", "replace").partition("\n")[0].partition("error parsing grammar: ")[2]
    said = said or "it needs a rule named root, and no left recursion"
    raise BadGrammar(f"not a grammar that llama.cpp understands: {said}")
