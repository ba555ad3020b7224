"""Which models stay in memory, decided: pure."""

from __future__ import annotations

from typing import NamedTuple

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


class EvictionPlan(NamedTuple):
    """What a newcomer needs: unload these, and then, if `wait`, plan again once a busy model has become idle."""

    unload: list[str]
    """Keys."""
    wait: bool


def plan(candidates: list[EvictionCandidate], needed: int, available: int) -> EvictionPlan:
    """Room for `needed` bytes: idle models go, least recently used first; a busy one never does.

    A model that would not fit even if it were the only one unloads nothing: its load reports what is missing.
    """
    short = needed - available
    if short > sum(candidate.memory_bytes for candidate in candidates):
        return EvictionPlan([], wait=False)
    chosen: list[str] = []
    for candidate in sorted((c for c in candidates if c.idle), key=lambda c: c.idle_since):
        if short <= 0:
            break
        chosen.append(candidate.key)
        short -= candidate.memory_bytes
    return EvictionPlan(chosen, wait=short > 0)
