"""Which models stay in memory, decided: pure."""

from __future__ import annotations

from typing import NamedTuple

from threadrunner.api.errors import ModelLoadFailed
from threadrunner.config import Config

RESERVE = 512 << 20
"""Bytes that models leave to the rest of the machine."""

BUFFERS = 192 << 20
"""Bytes that our own backend takes beside the weights, at least: compute buffers and the interpreter."""
USUAL_CACHE = 384 << 20
"""Bytes that its cache takes where it may."""


class EvictionCandidate(NamedTuple):
    """A model that is loaded or loading, as this decision sees it."""

    key: str
    memory_bytes: int
    """What it takes, or will take once it is loaded."""
    idle: bool
    idle_since: float
    """Seconds on any clock that all candidates share."""
    vram_bytes: int = 0
    """What it has of the GPUs' memory."""


class VramNeed(NamedTuple):
    """What a newcomer needs of the GPUs' memory, in bytes."""

    needed: int = 0
    available: int = 0
    patient: bool = False
    """Worth a wait for a busy model; else it takes what it gets."""


NO_VRAM = VramNeed()


class EvictionPlan(NamedTuple):
    """What a newcomer needs: unload these, and then, if `wait`, plan again once a busy model has become idle."""

    unload: list[str]
    """Keys."""
    wait: bool


def plan(candidates: list[EvictionCandidate], needed: int, available: int, vram: VramNeed = NO_VRAM) -> EvictionPlan:
    """Room for `needed` bytes: idle models go, least recently used first; a busy one never does.

    A model that would not fit even if it were the only one unloads nothing: its load reports what is missing. Where
    only the GPUs' memory is short, models go that have some of it.
    """
    short, short_vram = needed - available, vram.needed - vram.available
    if short > sum(candidate.memory_bytes for candidate in candidates):
        return EvictionPlan([], wait=False)
    chosen: list[str] = []
    for candidate in sorted((c for c in candidates if c.idle), key=lambda c: c.idle_since):
        if short > 0 or (short_vram > 0 and candidate.vram_bytes > 0):
            chosen.append(candidate.key)
            short -= candidate.memory_bytes
            short_vram -= candidate.vram_bytes
    held_by_busy = any(candidate.vram_bytes for candidate in candidates if not candidate.idle)
    return EvictionPlan(chosen, wait=short > 0 or (vram.patient and short_vram > 0 and held_by_busy))


def check_limits(name: str, size: int, backend: str, config: Config) -> None:
    """Raises ModelLoadFailed for a model of `size` bytes that an option does not allow, even as the only one."""
    needed = size + (BUFFERS if backend == "llama" else 0)
    for option, whose in (("memory_limit", "one model"), ("memory_total", "all models together")):
        limit = getattr(config, option)
        if limit and needed > limit:
            raise ModelLoadFailed(
                f"{name} needs {needed / 1e6:,.0f} MB or more, and {option} allows {whose} {limit / 1e6:,.0f} MB; "
                "raise it in config.toml, or use a smaller model",
                needed_bytes=needed,
                limit_bytes=limit,
            )
