"""Is a worker hung? Decided: what was demanded of it and what it has done since in, what to do about it out. No clock,
no process.

Native code can hang in a way that no message reaches: a grammar that explodes, a pattern that backtracks, a lock in a
driver, with or without Python's GIL. From outside that looks like a long step. So a worker is judged only while
something is demanded of it (a request was cancelled, or its time is over; another needs its memory; it must unload),
and only by the time in which it gave no sign of life at all: between any two calls of its backend it counts on
(worker/vitals.py), and takes what has arrived. A client that likes to wait may wait.

Patience is counted in looks, each of which adds a bounded time: a machine that was suspended, or a daemon that was
stopped together with its worker, has not waited.
"""

from __future__ import annotations

from enum import Enum

from threadrunner.worker.vitals import Doing, Vitals

HANG = "hang"
"""The fact `cause` of the errors that tell of it."""

LOOK_EVERY = 0.5
"""Seconds between two looks while something is demanded."""
NUDGE_AFTER = 2.0
"""Seconds without a sign of life until whatever runs is interrupted. A step of our own engine ends in milliseconds
then, one that waits for a disk within one operation of the graph; its requests go on with the next step."""
GRACE = 10.0
"""Seconds without a sign of life until the worker is ended. Far more than an interrupted step takes, and about what a
person waits before they look for the pid themselves."""
MAX_GRACE = 120.0
"""What is known of a slow machine raises the grace up to this: the end must come in bounded time."""
BYTES_A_SECOND = 200_000
"""A request is taken in at least that fast: a tenth of what a slow tokenizer does on 16 MB of text."""
STOP_WITHIN = 15.0
"""Seconds from Stop to the end: the KV cache is written in between."""


class Verdict(Enum):
    WAIT = "wait"
    NUDGE = "nudge"
    """Interrupt whatever it runs."""
    END = "end"
    """Kill it."""


class HangWatch:
    """See the module. Times are seconds on any one clock."""

    def __init__(self) -> None:
        self.owed: set[int] = set()
        """Requests that it has been told to let go, and has not."""
        self.pressed = False
        """It must end or make way as soon as its requests are done."""
        self.stopping = False
        """It was told to end."""
        self.load_seconds = 0.0
        self._beats = -1
        self._silent = 0.0
        self._stopping_for = 0.0
        self._looked = 0.0
        self._nudged = False

    @property
    def silent(self) -> float:
        """Seconds of our own running time since its last sign of life."""
        return self._silent

    def demands(self, busy: bool) -> bool:
        """Whether anything is demanded, so that `look` must be called. `busy`: requests wait for its answers."""
        return bool(self.owed) or self.stopping or (self.pressed and busy)

    def begin(self, now: float) -> None:
        """Something is demanded, and nothing was before: patience begins."""
        self._looked = now
        self._silent = 0.0
        self._nudged = False

    def look(self, now: float, vitals: Vitals, request_bytes: int = 0) -> Verdict:
        """`request_bytes` is the size of the request that it is taking in."""
        passed, self._looked = min(now - self._looked, 2 * LOOK_EVERY), now
        if self.stopping:  # no sign of life counts: it may be writing, but not for longer
            self._stopping_for += passed
            return Verdict.END if self._stopping_for >= STOP_WITHIN else Verdict.WAIT
        if vitals.beats != self._beats:
            self._beats, self._silent, self._nudged = vitals.beats, 0.0, False
            return Verdict.WAIT
        self._silent += passed
        if self._silent >= self.grace(vitals, request_bytes):
            return Verdict.END
        if self._silent >= NUDGE_AFTER and not self._nudged:
            self._nudged = True
            return Verdict.NUDGE
        return Verdict.WAIT

    def grace(self, vitals: Vitals, request_bytes: int = 0) -> float:
        """Seconds of silence that are still not a hang.

        A step reads each weight at most once, as the load did, so where the weights come from a slow disk one takes no
        longer than the other; and what a step has taken before it may take again.
        """
        seconds = max(GRACE, 2 * self.load_seconds, 4 * vitals.slowest)
        if vitals.doing is Doing.SUBMIT:
            seconds += request_bytes / BYTES_A_SECOND
        return min(seconds, MAX_GRACE)
