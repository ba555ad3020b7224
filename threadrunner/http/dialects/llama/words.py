"""llama-server's words for sampling that no other dialect has, as the daemon takes them."""

from __future__ import annotations

from typing import Any

from threadrunner.http.reading import Fields


def read_chains(body: Fields) -> dict[str, Any]:
    """`dry_…`, `xtc_…`, `mirostat…` and `dynatemp_…`, where they are on. Raises HttpFailure."""
    params: dict[str, Any] = {}
    if body.number("dry_multiplier"):
        numbers = ("multiplier", "base", "allowed_length")
        params["dry"] = _given(body, {f"dry_{name}": name for name in numbers} | {"dry_penalty_last_n": "window"})
        if (breakers := body.items("dry_sequence_breakers")) is not None:
            params["dry"]["breakers"] = breakers
    if body.number("xtc_probability"):
        params["xtc"] = _given(body, {"xtc_probability": "probability", "xtc_threshold": "threshold"})
    if body.number("mirostat"):
        names = {"mirostat": "version", "mirostat_tau": "tau", "mirostat_eta": "eta"}
        params["mirostat"] = _given(body, names)
    if body.number("dynatemp_range"):
        params["dynamic_temperature"] = _given(body, {"dynatemp_range": "range", "dynatemp_exponent": "exponent"})
    return params


def _given(body: Fields, names: dict[str, str]) -> dict[str, Any]:
    return {ours: body.number(theirs) for theirs, ours in names.items() if theirs in body}
