"""What has become of a loaded model's file, decided: pure.

A file replaced by rename is another inode: who has the old one mapped still has all of it. A file written in place is
the same inode: its mapping is wrong from that moment, and deadly where it was truncated (SIGBUS).
"""

from __future__ import annotations

from enum import Enum

QUIET = 0.3
"""Seconds without a write after which a file counts as whole."""


class Change(Enum):
    NONE = "none"
    GONE = "gone"
    REPLACED = "replaced"
    REWRITTEN = "rewritten"


def judge(loaded: str, now: str) -> Change:
    """Compare two fingerprints of catalog.Model: the one at the load, and today's (empty: no such file)."""
    if loaded == now:
        return Change.NONE
    if not now:
        return Change.GONE
    return Change.REWRITTEN if loaded.split("-")[:2] == now.split("-")[:2] else Change.REPLACED


def restless(mtime: float, now: float) -> float:
    """Seconds that a file written at `mtime` must still stay as it is; 0: it is whole.

    A time in the future (another machine's clock) says nothing, and must not make us wait for it.
    """
    age = now - mtime
    return QUIET - age if 0 <= age < QUIET else 0.0
