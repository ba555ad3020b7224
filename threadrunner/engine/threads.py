"""How many threads compute: as many as there are cores that no other process uses. Pure: it is told the times.

ggml's threads wait for each other by spinning, many times a token. One thread more than free cores, and each wait lasts
until the system runs the thread that is missing: on 2 cores beside one busy program, llama-server with its two threads
decodes 66 tokens a second where one thread decodes 136 (tests/bench/crowded.py); with two models at once it was 2.
"""

from __future__ import annotations

from typing import Protocol

LOOK_EVERY = 0.25  # seconds; the system counts idle time in hundredths
MIN_USE = 0.25
"""Cores; where we used less since the last look, we were idle, and what others did then tells nothing of now. That they
did nothing does: a model that is asked for a few tokens at a time, as editors do, is never busy for a whole look, and
would go on for ever with the one thread that a busy moment left it."""
SPARE = 0.4
"""Cores that others may use before a thread gives way: the daemon, an editor."""


class ClockReading(Protocol):
    """Seconds, each counted from an arbitrary start (threadrunner.machine.Clocks is one)."""

    @property
    def wall(self) -> float: ...

    @property
    def own(self) -> float:
        """Processor time of this process."""

    @property
    def idle(self) -> float:
        """Idle time of all the cores that it may use, added up."""


class Threads:
    """`max_threads` until `look` finds that others use the cores.

    Prompts may have a number of their own: a batch of many tokens gains by hyper-threads, where a single token waits
    for memory.
    """

    def __init__(self, threads: int, clocks: ClockReading | None, prefill: int = 0) -> None:
        """`threads` compute one token, `prefill` a batch of them; 0: as many."""
        self._decode, self._prefill = threads, prefill or threads
        self.now = self.max_threads = max(self._decode, self._prefill)
        self._last = clocks

    @property
    def decode(self) -> int:
        """Those that compute one token now."""
        return min(self.now, self._decode)

    @property
    def prefill(self) -> int:
        """Those that compute a batch of them now."""
        return min(self.now, self._prefill)

    def due(self, wall: float) -> bool:
        """Whether it is time to read the clocks; never where the system has none."""
        return self._last is not None and self.max_threads > 1 and wall - self._last.wall >= LOOK_EVERY

    def look(self, clocks: ClockReading) -> int:
        """The number of threads from now on: the cores that we used and those that no process used since the last look
        are ours; where we were idle, no fewer than before."""
        assert self._last is not None
        last, self._last = self._last, clocks
        wall, own, idle = clocks.wall - last.wall, clocks.own - last.own, clocks.idle - last.idle
        free = max(1, min(self.max_threads, int((own + idle) / wall + SPARE)))
        self.now = free if own >= MIN_USE * wall else max(self.now, free)
        return self.now
