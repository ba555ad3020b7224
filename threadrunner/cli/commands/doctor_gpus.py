"""The doctor's findings about GPUs: which ones llama.cpp sees, and how to build one that sees those that are here."""

from __future__ import annotations

import glob
import json

from threadrunner.cli import render
from threadrunner.cli.commands import doctor_models
from threadrunner.cli.commands.doctor_models import note, ok
from threadrunner.system import this_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadrunner.cli.commands.doctor_models import Finding

_SIGNS = (("/dev/nvidia[0-9]*", "an NVIDIA GPU", "CUDA"), ("/dev/kfd", "an AMD GPU", "HIP"),
          ("/dev/dri/renderD*", "a GPU", "VULKAN"))  # fmt: skip
"""A file that a driver makes, what it is a sign of, and what llama.cpp calls the way to use it; the best one first."""


def found(listed: str, version: str) -> Iterator[Finding]:
    """`listed` is what engine/llama/devices.py printed: JSON."""
    try:
        devices = json.loads(listed)["devices"]
    except (ValueError, KeyError, TypeError):
        yield note("gpu", "the engine did not say which devices it sees")
        return
    gpus = [device for device in devices if device["kind"] in ("gpu", "igpu")]
    for gpu in gpus:
        yield ok(
            "gpu",
            f"{gpu['name']}: {gpu['description']}, {render.size(gpu['free'])} of {render.size(gpu['total'])} free",
        )
    if not gpus:
        yield _without(version)


def _without(version: str) -> Finding:
    """There is none in this build."""
    if this_process.NAME == "darwin":
        return note("gpu", f"llama.cpp was built without Metal; to build it with it: {_build('METAL', version)}")
    for pattern, what, flag in _SIGNS:
        if glob.glob(pattern):
            return note("gpu", f"{what} is here ({pattern}), and llama.cpp sees none; to build one that does: "
                        f"{_build(flag, version)}; docs/gpu.md has more")  # fmt: skip
    return ok("gpu", "none here that its driver shows; models are computed by the CPU")


def unused() -> str:
    """What is here by the signs of its driver, for when the engine sees no GPU; empty for nothing, and where another
    backend than llama is chosen."""
    if doctor_models.options().backend != "llama":
        return ""
    if this_process.NAME == "darwin":
        return "Apple's GPU"
    return next((f"{what[0].upper()}{what[1:]}" for pattern, what, _ in _SIGNS if glob.glob(pattern)), "")


def _build(flag: str, version: str) -> str:
    return (
        f'CMAKE_ARGS="-DGGML_{flag}=ON" pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python '
        f"llama-cpp-python=={version}"
    )
