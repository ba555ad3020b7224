"""Which models stay in memory, decided: pure, asks nobody, logs nothing."""

from __future__ import annotations

from typing import NamedTuple

RESERVE = 512 << 20
"""Bytes that models leave to the rest of the machine."""


class Resident(NamedTuple):
    """A loaded model, as this decision sees it."""

    key: str
    rss_bytes: int
    idle: bool
    idle_since: float


def victims(residents: list[Resident], needed: int, available: int) -> list[str]:
    """The idle models to unload so that `needed` bytes fit, least recently used first; none that is busy.

    Empty when it fits already, and also when unloading all of them would not be enough: then nothing is gained by
    unloading, and the load itself says what is short.
    """
    short = needed + RESERVE - available
    chosen: list[str] = []
    for resident in sorted((r for r in residents if r.idle), key=lambda r: r.idle_since):
        if short <= 0:
            break
        chosen.append(resident.key)
        short -= resident.rss_bytes
    return chosen if short <= 0 else []
