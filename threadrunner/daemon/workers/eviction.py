"""Which models stay in memory, decided: pure, asks nobody, logs nothing."""

from __future__ import annotations

from typing import NamedTuple

RESERVE = 512 << 20
"""Bytes that models leave to the rest of the machine."""


class EvictionCandidate(NamedTuple):
    """A loaded model, as this decision sees it."""

    key: str
    rss_bytes: int
    idle: bool
    idle_since: float


class EvictionPlan(NamedTuple):
    """What a newcomer needs done: unload these, and then, if `wait`, look again once a busy model has become idle."""

    unload: list[str]
    wait: bool


def plan(residents: list[EvictionCandidate], needed: int, available: int) -> EvictionPlan:
    """Room for `needed` bytes: idle models go, least recently used first; a busy one never does.

    A model that would not fit beside nothing at all unloads nobody: the load itself says what is short.
    """
    short = needed - available
    if short > sum(resident.rss_bytes for resident in residents):
        return EvictionPlan([], wait=False)
    chosen: list[str] = []
    for resident in sorted((r for r in residents if r.idle), key=lambda r: r.idle_since):
        if short <= 0:
            break
        chosen.append(resident.key)
        short -= resident.rss_bytes
    return EvictionPlan(chosen, wait=short > 0)
