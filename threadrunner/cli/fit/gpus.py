"""The GPUs that the engine can compute on, and how fast each reads its memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

from threadrunner.cli.commands import doctor_models
from threadrunner.cli.fit.estimate import Gpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SECONDS = 30
_UNKNOWN = 200e9
"""Bytes a second of a card that is not listed: what small cards have."""
_LAPTOP = 0.6
"""Of the card of that name, what its sibling in laptops reads."""

_GB_A_SECOND = (
    ("H200", 4800), ("H100 PCIe", 2000), ("H100", 3350), ("A100", 1555), ("L40", 864), ("L4", 300), ("A10", 600),
    ("T4", 320), ("V100", 900), ("A6000", 768), ("A5000", 768), ("A4000", 448), ("MI300", 5300), ("MI250", 1638),
    ("RTX 5090", 1792), ("RTX 5080", 960), ("RTX 5070 Ti", 896), ("RTX 5070", 672), ("RTX 5060", 448),
    ("RTX 4090", 1008), ("RTX 4080", 717), ("RTX 4070 Ti SUPER", 672), ("RTX 4070", 504), ("RTX 4060", 272),
    ("RTX 3090", 936), ("RTX 3080", 760), ("RTX 3070", 448), ("RTX 3060 Ti", 448), ("RTX 3060", 360),
    ("RTX 3050", 224), ("RTX 2080 Ti", 616), ("RTX 2080", 448), ("RTX 2070", 448), ("RTX 2060", 336),
    ("GTX 1080 Ti", 484), ("GTX 1080", 320), ("GTX 1070", 256), ("GTX 1060", 192), ("GTX 16", 192),
    ("RX 7900 XTX", 960), ("RX 7900", 800), ("RX 7800", 624), ("RX 7700", 432), ("RX 7600", 288), ("RX 9070", 640),
    ("RX 6900", 512), ("RX 6800", 512), ("RX 6700", 384), ("RX 6600", 224), ("Arc B580", 456), ("Arc A770", 560),
    ("M4 Max", 410), ("M4 Pro", 273), ("Apple M4", 120), ("M3 Ultra", 819), ("M3 Max", 300), ("M3 Pro", 150),
    ("Apple M3", 100), ("M2 Ultra", 800), ("M2 Max", 400), ("M2 Pro", 200), ("Apple M2", 100), ("M1 Ultra", 800),
    ("M1 Max", 400), ("M1 Pro", 200), ("Apple M1", 68),
)  # fmt: skip
"""By a part of the name that the driver gives, the first that fits: as the makers publish it, of several variants the
slowest."""


def found() -> tuple[Gpu, ...]:
    """Those that llama.cpp sees, asked in a process of its own, since a driver may end it. None where another backend
    than llama is chosen, or the engine does not start: `doctor` says why."""
    if doctor_models.options().backend != "llama":
        return ()
    command = [sys.executable, "-P", "-m", "threadrunner.engine.llama.devices"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd="/")
        return usable(json.loads(done.stdout)["devices"])
    return ()


def usable(devices: list[dict[str, Any]]) -> tuple[Gpu, ...]:
    """Those of the engine's devices that make a model faster. One in the processor, which reads the same memory as its
    cores do, is none, but for Apple's, whose cores cannot read all that fast."""
    return tuple(
        Gpu(device["description"], device["free"], reads(device["description"]), _is_apple(device))
        for device in devices
        if device["free"] and (device["kind"] == "gpu" or _is_apple(device))
    )


def reads(description: str) -> float:
    """Bytes a second, by its maker."""
    known = next((speed * 1e9 for part, speed in _GB_A_SECOND if part.casefold() in description.casefold()), _UNKNOWN)
    return known * _LAPTOP if "laptop" in description.casefold() else known


def _is_apple(device: dict[str, Any]) -> bool:
    return "Apple M" in device["description"]
