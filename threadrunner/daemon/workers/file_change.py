"""What has become of a loaded model's file, and what to do about it, decided: pure.

A file replaced by rename is another inode: a process that has the old one mapped still has all of it. A file written in
place is the same inode: its mapping is wrong from that moment, and deadly if it was truncated (SIGBUS).
"""

from __future__ import annotations

from enum import Enum

QUIET = 0.3
"""Seconds without a write after which a file counts as complete."""


class Change(Enum):
    """What has become of a file since it was loaded."""

    NONE = "none"
    GONE = "gone"
    REPLACED = "replaced"
    REWRITTEN = "rewritten"


class Reaction(Enum):
    """What to do with the worker that has the file loaded."""

    KEEP = "keep"
    SUCCEED = "succeed"
    """Start the new file's worker beside it, which takes over once it works."""
    DISCARD = "discard"
    """End it at once, under its requests: what it computes from now on cannot be trusted."""


def judge(loaded: str, now: str) -> Change:
    """Compare two of ModelRef's fingerprints: the one at the load, and today's. One part of a split model is enough."""
    if loaded == now:
        return Change.NONE
    before, today = loaded.split("+"), now.split("+")
    if any(_rewritten(*pair) for pair in zip(before, today, strict=False)):
        return Change.REWRITTEN
    return Change.REPLACED if all(today) else Change.GONE


def _rewritten(loaded: str, now: str) -> bool:
    return bool(now) and loaded != now and loaded.split("-")[:2] == now.split("-")[:2]


def react(loaded: str, now: str, *, reloading: bool, rejected: str | None) -> Reaction:
    """`reloading`: a successor is on its way. `rejected`: the fingerprint of the last file that failed as one."""
    match judge(loaded, now):
        case Change.REWRITTEN:
            return Reaction.DISCARD
        case Change.REPLACED if not reloading and now != rejected:
            return Reaction.SUCCEED
    return Reaction.KEEP  # a deleted file too: the mapping keeps it


def settles_in(mtime: float, now: float) -> float:
    """Seconds that a file written at `mtime` must still stay unchanged; 0: it is complete.

    A time in the future (another machine's clock) means nothing, and must not make us wait for it.
    """
    age = now - mtime
    return QUIET - age if 0 <= age < QUIET else 0.0
