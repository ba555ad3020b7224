"""llama-server's words for sampling that no other dialect has, as the daemon takes them, and the way back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from threadrunner.http.reading import Fields

_GROUPS = {
    "dry": {
        "dry_multiplier": "multiplier",
        "dry_base": "base",
        "dry_allowed_length": "allowed_length",
        "dry_penalty_last_n": "window",
        "dry_sequence_breakers": "breakers",
    },
    "xtc": {"xtc_probability": "probability", "xtc_threshold": "threshold"},
    "mirostat": {"mirostat": "version", "mirostat_tau": "tau", "mirostat_eta": "eta"},
    "dynamic_temperature": {"dynatemp_range": "range", "dynatemp_exponent": "exponent"},
}
"""Our params that have members -> llama-server's words for these, of which the first is 0 where it is off."""
_ALONE = {"penalty_window": "repeat_last_n", "max_tokens": "n_predict"}
_SAME = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "top_n_sigma", "repeat_penalty", "presence_penalty",
    "frequency_penalty", "stop",
)  # fmt: skip


def read_chains(body: Fields) -> dict[str, Any]:
    """`dry_…`, `xtc_…`, `mirostat…` and `dynatemp_…`, where they are on. Raises HttpFailure."""
    return {ours: _given(body, words) for ours, words in _GROUPS.items() if body.number(next(iter(words)))}


def _given(body: Fields, words: Mapping[str, str]) -> dict[str, Any]:
    return {
        ours: body.items(theirs) if ours == "breakers" else body.number(theirs)
        for theirs, ours in words.items()
        if theirs in body
    }


def told(params: Mapping[str, Any]) -> dict[str, Any]:
    """Those of our params that say how tokens are chosen and when to end, in llama-server's words."""
    found: dict[str, Any] = {}
    for name, value in params.items():
        if name in _GROUPS:
            found |= {theirs: value[ours] for theirs, ours in _GROUPS[name].items() if ours in value}
        elif name in _ALONE or name in _SAME:
            found[_ALONE.get(name, name)] = value
    return found
