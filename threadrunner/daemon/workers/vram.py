"""How much of the GPUs' memory the models have, as their workers reported it: the daemon itself asks no driver.

All GPUs count as one memory. One that computes in the machine's own memory does not count: `machine` knows that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from threadrunner.daemon.workers.eviction import NO_VRAM, VramNeed


def _gpus(facts: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Of a load's facts (backends/hardware.py), the devices with memory of their own."""
    listed = facts.get("devices", [])
    yield from (device for device in listed if isinstance(device, dict) and device.get("kind") == "gpu")


def held(facts: Mapping[str, Any]) -> int:
    """Bytes that the model has of them."""
    return sum(int(device.get("model_bytes", 0)) for device in _gpus(facts))


def capacity(facts: Mapping[str, Any], held_by_all: int) -> int:
    """Bytes that models may have together, by what was free after this one was loaded; 0: no GPU."""
    total = sum(int(device.get("total_bytes", 0)) for device in _gpus(facts))
    free = sum(int(device.get("free_bytes", 0)) for device in _gpus(facts))
    return min(total, free + held_by_all)


def need(gpu_layers: str, expected: int, capacity: int, held_by_all: int) -> VramNeed:
    """What a newcomer that is expected to take so many bytes asks for; where it takes what fits, that is worth the
    unloading of idle models, but not a wait."""
    if not capacity or gpu_layers == "0":
        return NO_VRAM
    return VramNeed(min(expected, capacity), capacity - held_by_all, patient=gpu_layers != "auto")
