"""From a request's sampling params to the engine's: the request's own values, then the model's, then the usual ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from threadrunner.api.errors import InvalidParams
from threadrunner.api.sampling import SamplingParams
from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.llama.sampling import Sampling

FORBIDDING = -100.0
"""A bias of this or less forbids a token, as in OpenAI's API."""
MAX_BREAKER_BYTES = 40
"""llama.cpp cuts longer ones, in the middle of a character too."""

_SAME = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "top_n_sigma",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "penalty_window",
)
"""Params of the same name and meaning in the engine; None: not given."""


def sampling_of(params: SamplingParams, usual: Sampling, n_tokens: int) -> Sampling:
    """`usual` holds where the request says nothing; the vocabulary has `n_tokens`. Raises InvalidParams, and BadGrammar
    for a constraint that cannot be held."""
    given: dict[str, Any] = {name: value for name in _SAME if (value := getattr(params, name)) is not None}
    return replace(
        usual,
        **given,
        **_groups(params),
        logit_bias=_biases(params.logit_bias, n_tokens),
        min_tokens=params.min_tokens,
        ignore_eos=params.ignore_eos,
        seed=params.seed,
        constraint=constraint_of(params),
        logprobs=params.logprobs,
    )


def constraint_of(params: SamplingParams) -> Constraint | None:
    """Raises BadGrammar."""
    if params.json_schema not in (None, False):
        assert params.json_schema is not None
        return Constraint.of_schema(params.json_schema, lenient=params.json_schema_check == "after")
    return None if params.grammar is None else Constraint.of_gbnf(params.grammar)


def _groups(params: SamplingParams) -> dict[str, Any]:
    """The params that are structs."""
    found: dict[str, Any] = {}
    if (dynamic := params.dynamic_temperature) is not None:
        found |= {"dynatemp_range": dynamic.range, "dynatemp_exponent": dynamic.exponent}
    if (xtc := params.xtc) is not None:
        found |= {"xtc_probability": xtc.probability, "xtc_threshold": xtc.threshold}
    if (mirostat := params.mirostat) is not None:
        found |= {"mirostat": mirostat.version, "mirostat_tau": mirostat.tau, "mirostat_eta": mirostat.eta}
    if (dry := params.dry) is not None:
        found |= {
            "dry_multiplier": dry.multiplier,
            "dry_base": dry.base,
            "dry_allowed_length": dry.allowed_length,
            "dry_window": dry.window,
            "dry_breakers": tuple(map(_breaker, dry.breakers)),
        }
    return found


def _breaker(text: str) -> str:
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_BREAKER_BYTES:
        raise InvalidParams(f"`dry.breakers`: {text!r} has {size} bytes; the maximum is {MAX_BREAKER_BYTES}")
    if "\0" in text or (not text.isprintable() and "\ud800" <= max(text) <= "\udfff"):
        raise InvalidParams(f"`dry.breakers`: {text!r} is no text")
    return text


def _biases(given: dict[str, float], n_tokens: int) -> dict[int, float]:
    biases = {int(token): bias for token, bias in given.items()}
    if biases and (largest := max(biases)) >= n_tokens:
        raise InvalidParams(f"`logit_bias` names the token {largest}; this model's are 0 to {n_tokens - 1}")
    return {token: bias if bias > FORBIDDING else -math.inf for token, bias in biases.items()}
