"""What a model will need and how fast it will be, from the catalog's row and the machine: pure.

tests/bench/fit.py holds it against the real worker, on the CPU; for GPUs it follows from what their makers publish.
A token costs the reading of all weights that it needs, and some time for each layer whatever its size: threads meet,
norms and rotations are computed, Python asks for it.
"""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTEXT = 8192
"""Tokens of a conversation that memory is counted for."""
WORKER_BYTES = 130 << 20
"""The interpreter, llama.cpp, and compute buffers of a small model."""
COMPUTE_SHARE = 0.03
"""Of the weights: larger models have larger compute buffers."""
LAYER_SECONDS = 180e-6
DECODING = 0.9
"""Of the memory's speed, what decoding reaches; more in practice where weights are few bits, for they are unpacked."""
_VOCABULARY = 128_000
"""Tokens that a model knows, where that is not told."""
VOCABULARY_BYTES = 300
"""For each of them: its text, and its logit for each of the requests that may run at once."""
VOCABULARY_SECONDS = 20e-9
"""For each of them, at each token: a logit is copied, and sorted among the others. By Gemma 3 270M, whose 262,144 take
longer than a third of its weights."""
_BYTES_A_WEIGHT = 0.6
"""Of the usual quantizations to 4 bits, with what is not quantized."""
GPU_LAYER_SECONDS = 40e-6
"""The same on a GPU, where a layer is some ten launches of kernels."""
GPU_DECODING = 0.75
"""Of the memory's speed that a GPU's maker publishes, what decoding reaches."""
GPU_MARGIN = 512 << 20
"""Bytes of a GPU left to the screen, the driver and compute buffers."""
COMFORT = 0.8
"""Of the free memory, what a model may take so that the machine remains usable."""


class Gpu(NamedTuple):
    """One that the engine can compute on."""

    description: str
    free: int
    """Bytes."""
    bandwidth: float
    """Bytes a second."""
    shared: bool = False
    """Its memory is the machine's own."""


class Machine(NamedTuple):
    """What a model would run on."""

    free: int | None
    """Bytes of memory; None where that is not known."""
    bandwidth: float
    """Bytes a second that the cores read."""
    gpus: tuple[Gpu, ...] = ()


def memory(model: dict[str, Any], context: int = CONTEXT) -> int:
    """Bytes that a worker takes with this context full."""
    tokens = min(context, model.get("context") or context)
    cells = model.get("kv_bytes") or _usual_kv(model)
    size: int = model["size_bytes"]
    known = model.get("vocabulary") or _VOCABULARY
    return int(size * (1 + COMPUTE_SHARE)) + tokens * cells + known * VOCABULARY_BYTES + WORKER_BYTES


def speed(model: dict[str, Any], here: Machine) -> float:
    """Tokens a second of one client."""
    parameters = model.get("parameters") or 0
    active = (model.get("active_parameters") or parameters) / parameters if parameters else 1.0
    read = model["size_bytes"] * active
    layers = model.get("layers") or 32
    on_gpu = share(model, here)
    seconds: float = (1 - on_gpu) * (read / (here.bandwidth * DECODING) + layers * LAYER_SECONDS)
    if on_gpu:
        slowest = min(gpu.bandwidth for gpu in here.gpus)
        seconds += on_gpu * (read / (slowest * GPU_DECODING) + layers * GPU_LAYER_SECONDS)
    return 1 / (seconds + (model.get("vocabulary") or _VOCABULARY) * VOCABULARY_SECONDS)


def share(model: dict[str, Any], here: Machine, context: int = CONTEXT) -> float:
    """How much of it GPUs can hold, 0 to 1; the engine gives them as many layers as that."""
    room = sum(max(0, gpu.free - GPU_MARGIN) for gpu in here.gpus)
    return min(1.0, room / memory(model, context))


def fits(model: dict[str, Any], here: Machine, context: int = CONTEXT) -> bool:
    """Whether it leaves the machine room."""
    if here.free is None:
        return True
    own = 0.0 if any(gpu.shared for gpu in here.gpus) else share(model, here, context)
    return max(WORKER_BYTES, (1 - own) * memory(model, context)) <= here.free * COMFORT


def _usual_kv(model: dict[str, Any]) -> int:
    """Of models with grouped attention, about 32 kB for each thousand million of parameters; a guess."""
    parameters = model.get("parameters") or model["size_bytes"] / _BYTES_A_WEIGHT
    return int(32_768 * parameters / 1e9)


READS = 8.0
"""Tokens a second that a person reads with ease; slower is waiting."""
THINKS = 15.0
"""For a model that thinks first: some hundred tokens go before the first that is read."""
TYPES = 18.0
"""For suggestions in an editor: a line comes while it is still wanted."""


def recommended(models: list[dict[str, Any]], purpose: str, here: Machine) -> list[dict[str, Any]]:
    """Those that do it, the best first: they fit, they are not too slow for it, and of these the highest rank. Where
    none is quick enough, the quickest that fit."""
    able = [model for model in models if _made_for(model, purpose) and fits(model, here)]
    quick = [model for model in able if speed(model, here) >= _enough(model, purpose)]
    if quick:
        return sorted(quick, key=lambda model: -model["rank"])
    return sorted(able, key=lambda model: -speed(model, here))


def _made_for(model: dict[str, Any], purpose: str) -> bool:
    """What was made to complete code can chat, and others do it better."""
    does = model.get("does") or ()
    return purpose in does and not (purpose == "chat" and "code" in does)


def _enough(model: dict[str, Any], purpose: str) -> float:
    """Tokens a second."""
    if purpose in ("code", "embed"):
        return TYPES if purpose == "code" else 0.0
    return THINKS if "thinking" in (model.get("does") or ()) else READS
