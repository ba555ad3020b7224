"""What a model's file says of how its tokens should be chosen: `general.sampling.*`, which llama.cpp's converter writes
from a model's generation_config.json."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from threadrunner.engine.llama.sampling import Sampling

log = logging.getLogger("threadrunner.engine")

_KEYS: dict[str, tuple[str, type[int] | type[float], float, float]] = {
    "temp": ("temperature", float, 0.0, 100.0),
    "top_k": ("top_k", int, 0, 2**31 - 1),
    "top_p": ("top_p", float, 0.0, 1.0),
    "min_p": ("min_p", float, 0.0, 1.0),
    "xtc_probability": ("xtc_probability", float, 0.0, 1.0),
    "xtc_threshold": ("xtc_threshold", float, 0.0, 1.0),
    "penalty_last_n": ("penalty_window", int, -1, 2**31 - 1),
    "penalty_repeat": ("repeat_penalty", float, 0.001, 10.0),
    "mirostat": ("mirostat", int, 0, 2),
    "mirostat_tau": ("mirostat_tau", float, 0.0, 100.0),
    "mirostat_eta": ("mirostat_eta", float, 0.0, 1.0),
}
"""The key's end -> our name, type and range; what is out of it is not believed."""


@dataclass(frozen=True, slots=True)
class Recommended:
    """`said` is what the file says, by our names; `sampling` has the usual values where it says nothing."""

    said: dict[str, int | float]
    sampling: Sampling


def recommended(meta: Callable[[str], str | None]) -> Recommended:
    """`meta` gives a key's value as text, None where there is none."""
    said: dict[str, int | float] = {}
    for key, (name, kind, least, most) in _KEYS.items():
        text = meta(f"general.sampling.{key}")
        if text is None:
            continue
        value = _number(text)
        if value is None or not least <= value <= most:
            log.warning("general.sampling.%s is %r in the model's file: passed over", key, text)
        else:
            said[name] = kind(value)
    return Recommended(said, replace(Sampling(), **said))  # type: ignore[arg-type]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
