"""llama.cpp's samplers for one candidate, in the order that llama.cpp's own programs have them (common/sampling.cpp).

Numbers that C's types would wrap, or that would make infinities and NaN of scores, are bounded here.
"""

from __future__ import annotations

import ctypes
import math
from functools import lru_cache

from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.sampling import Sampling

MIN_TEMPERATURE = 1e-5
"""Below it the choice is greedy: at 1e-38 a logit divided by it is infinite, and two of them differ by NaN."""
MIN_PENALTY, MAX_PENALTY = 1e-3, 1e3
"""Likewise: logits are divided and multiplied by it."""
MAX_WINDOW = 1 << 18
"""Tokens that penalties and DRY look back: C makes room for all of them at once, 4 bytes each."""
MAX_TAU = 20.0
"""Bits of surprise; a vocabulary of a million tokens has no more. Mirostat computes 2 ** (2 * tau)."""
_TINY_P = 1e-30
"""Of the likeliest token's probability. What is less likely must be gone before `typical`, whose entropy is NaN where
a probability is zero in 32 bits."""
MAX_BIAS = 1e4
"""Added to a score: far beyond any model's own, far below where 32 bits end."""
_MIROSTAT_M = 100  # as in llama.cpp
_INT32_MAX = 2**31 - 1


def window_of(tokens: int) -> int:
    """A window as C takes it, -1 being all."""
    return MAX_WINDOW if tokens < 0 else min(tokens, MAX_WINDOW)


def is_greedy(sampling: Sampling) -> bool:
    """Whether the chain takes the token of the highest score, whatever was said before, and does nothing else."""
    changes = sampling.logit_bias or sampling.penalizes or sampling.dry_multiplier
    return not changes and not sampling.temperature >= MIN_TEMPERATURE


def samplers(sampling: Sampling, seed: int, model: Model) -> list[llama_cpp.llama_sampler_p]:
    """The chain's, first to last; each belongs to the caller."""
    made = [*_biases(sampling, model.n_vocab), *_penalties(sampling, model)]
    if not sampling.temperature >= MIN_TEMPERATURE:
        return [*made, llama_cpp.llama_sampler_init_greedy()]
    if sampling.mirostat:
        return [*made, _temperature(sampling), _mirostat(sampling, seed, model.n_vocab)]
    return [
        *made,
        *_cuts(sampling, seed, model.n_vocab),
        _temperature(sampling),
        llama_cpp.llama_sampler_init_dist(seed),
    ]


def _biases(sampling: Sampling, n_vocab: int) -> list[llama_cpp.llama_sampler_p]:
    given = sampling.logit_bias.items()
    biases = [llama_cpp.llama_logit_bias(token, _bounded(bias) if bias > -math.inf else bias) for token, bias in given]
    if not biases:
        return []
    array = (llama_cpp.llama_logit_bias * len(biases))(*biases)
    return [llama_cpp.llama_sampler_init_logit_bias(n_vocab, len(biases), array)]


def _penalties(sampling: Sampling, model: Model) -> list[llama_cpp.llama_sampler_p]:
    made = []
    if sampling.penalizes:
        repeat = min(max(MIN_PENALTY, sampling.repeat_penalty), MAX_PENALTY)
        frequency, presence = _bounded(sampling.frequency_penalty), _bounded(sampling.presence_penalty)
        window = window_of(sampling.penalty_window)
        made.append(llama_cpp.llama_sampler_init_penalties(model.n_vocab, window, repeat, frequency, presence))
    if sampling.dry_multiplier:
        made.append(llama_cpp.llama_sampler_clone(_dry(model, _dry_numbers(sampling), sampling.dry_breakers).handle))
    return made


def _cuts(sampling: Sampling, seed: int, n_vocab: int) -> list[llama_cpp.llama_sampler_p]:
    made = []
    if sampling.top_n_sigma > 0.0:
        made.append(llama_cpp.llama_sampler_init_top_n_sigma(sampling.top_n_sigma))
    if sampling.top_k > 0:
        made.append(llama_cpp.llama_sampler_init_top_k(min(sampling.top_k, n_vocab)))
    if sampling.typical_p < 1.0:
        made.append(llama_cpp.llama_sampler_init_min_p(_TINY_P, 1))
        made.append(llama_cpp.llama_sampler_init_typical(sampling.typical_p, 1))
    if sampling.top_p < 1.0:
        made.append(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0.0:
        made.append(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
    if sampling.xtc_probability > 0.0:
        made.append(llama_cpp.llama_sampler_init_xtc(sampling.xtc_probability, sampling.xtc_threshold, 1, seed))
    return made


def _temperature(sampling: Sampling) -> llama_cpp.llama_sampler_p:
    usual = sampling.temperature
    reach = min(sampling.dynatemp_range, usual - MIN_TEMPERATURE)
    if reach > 0.0:
        return llama_cpp.llama_sampler_init_temp_ext(usual, reach, sampling.dynatemp_exponent)
    return llama_cpp.llama_sampler_init_temp(usual)


def _mirostat(sampling: Sampling, seed: int, n_vocab: int) -> llama_cpp.llama_sampler_p:
    tau, eta = min(sampling.mirostat_tau, MAX_TAU), sampling.mirostat_eta
    if sampling.mirostat == 1:
        return llama_cpp.llama_sampler_init_mirostat(n_vocab, seed, tau, eta, _MIROSTAT_M)
    return llama_cpp.llama_sampler_init_mirostat_v2(seed, tau, eta)


class _Dry:
    """A sampler to copy. Making one looks for each breaker in each token of the vocabulary, which takes 0.1 s and more;
    a copy takes none of it."""

    def __init__(self, model: Model, numbers: tuple[float, float, int, int], breakers: tuple[str, ...]) -> None:
        multiplier, base, allowed, window = numbers
        texts = (ctypes.c_char_p * len(breakers))(*(text.encode() for text in breakers))
        count = len(breakers)
        self.handle = llama_cpp.llama_sampler_init_dry(model.vocab, multiplier, base, allowed, window, texts, count)

    def __del__(self) -> None:
        llama_cpp.llama_sampler_free(self.handle)


@lru_cache(maxsize=8)
def _dry(model: Model, numbers: tuple[float, float, int, int], breakers: tuple[str, ...]) -> _Dry:
    return _Dry(model, numbers, breakers)


def _dry_numbers(sampling: Sampling) -> tuple[float, float, int, int]:
    window = window_of(sampling.dry_window)
    allowed = min(max(0, sampling.dry_allowed_length), _INT32_MAX)
    return _bounded(sampling.dry_multiplier), max(1.0, sampling.dry_base), allowed, window


def _bounded(number: float) -> float:
    return max(-MAX_BIAS, min(number, MAX_BIAS))
