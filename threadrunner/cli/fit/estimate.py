"""What a model will need and how fast it will be, from the catalog's row and the machine: pure.

tests/bench/fit.py holds it against the real worker. A token costs the reading of all weights that it needs, and some
time for each layer whatever its size: threads meet, norms and rotations are computed, Python asks for it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTEXT = 8192
"""Tokens of a conversation that memory is counted for."""
WORKER_BYTES = 150 << 20
"""The interpreter, llama.cpp, and compute buffers of a small model."""
COMPUTE_SHARE = 0.03
"""Of the weights: larger models have larger compute buffers."""
LAYER_SECONDS = 180e-6
DECODING = 0.85
"""Of the memory's speed, what decoding reaches; more in practice where weights are few bits, for they are unpacked."""
COMFORT = 0.8
"""Of the free memory, what a model may take so that the machine remains usable."""


def memory(model: dict[str, Any], context: int = CONTEXT) -> int:
    """Bytes that a worker takes with this context full."""
    tokens = min(context, model.get("context") or context)
    cells = model.get("kv_bytes") or _usual_kv(model)
    size: int = model["size_bytes"]
    return int(size * (1 + COMPUTE_SHARE)) + tokens * cells + WORKER_BYTES


def speed(model: dict[str, Any], bandwidth: float) -> float:
    """Tokens a second of one client on the CPU; `bandwidth` in bytes a second."""
    parameters = model.get("parameters") or 0
    share = (model.get("active_parameters") or parameters) / parameters if parameters else 1.0
    read = model["size_bytes"] * share
    layers = model.get("layers") or 32
    seconds: float = read / (bandwidth * DECODING) + layers * LAYER_SECONDS
    return 1 / seconds


def fits(model: dict[str, Any], free: int | None, context: int = CONTEXT) -> bool:
    """Whether it leaves the machine room; `free` bytes, None where that is not known."""
    return free is None or memory(model, context) <= free * COMFORT


def _usual_kv(model: dict[str, Any]) -> int:
    """Of models with grouped attention, about 32 kB for each thousand million of parameters; a guess."""
    return int(32_768 * (model.get("parameters") or 1e9) / 1e9)


READS = 8.0
"""Tokens a second that a person reads with ease; slower is waiting."""
THINKS = 15.0
"""For a model that thinks first: some hundred tokens go before the first that is read."""
TYPES = 18.0
"""For suggestions in an editor: a line comes while it is still wanted."""


def recommended(models: list[dict[str, Any]], purpose: str, free: int | None, bandwidth: float) -> list[dict[str, Any]]:
    """Those that do it, the best first: they fit, they are not too slow for it, and of these the highest rank. Where
    none is quick enough, the quickest that fit."""
    able = [model for model in models if _made_for(model, purpose) and fits(model, free)]
    quick = [model for model in able if speed(model, bandwidth) >= _enough(model, purpose)]
    if quick:
        return sorted(quick, key=lambda model: -model["rank"])
    return sorted(able, key=lambda model: -speed(model, bandwidth))


def _made_for(model: dict[str, Any], purpose: str) -> bool:
    """What was made to complete code can chat, and others do it better."""
    does = model.get("does") or ()
    return purpose in does and not (purpose == "chat" and "code" in does)


def _enough(model: dict[str, Any], purpose: str) -> float:
    """Tokens a second."""
    if purpose in ("code", "embed"):
        return TYPES if purpose == "code" else 0.0
    return THINKS if "thinking" in (model.get("does") or ()) else READS
