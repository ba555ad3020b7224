"""What the computing thread is doing, in memory that the daemon shares: readable while native code keeps the GIL, and
while the whole process is stopped. The third module that both sides import.

A message could not tell it: a thread that hangs sends none. A page costs 0.4 us a step, and is read only while
something is demanded of the worker (daemon/workers/hang.py).
"""

from __future__ import annotations

import enum
import mmap
import os
import struct
import time
from typing import NamedTuple

from threadrunner.system import files

SIZE = mmap.PAGESIZE
_NOW = struct.Struct("=QBQ")  # beats, what, the request's number
_SLOWEST = struct.Struct("=d")
_SLOWEST_AT = 32


class Doing(enum.IntEnum):
    """Which of the backend's methods the computing thread is in."""

    STARTING = 0
    WAITING = 1
    """For a message."""
    SUBMIT = 2
    STEP = 3
    CANCEL = 4
    CLOSE = 5


class Vitals(NamedTuple):
    """One look at the page."""

    beats: int
    """How often the thread has gone from one thing to the next."""
    doing: Doing
    request: int
    """The request of SUBMIT and CANCEL; 0 for the others."""
    slowest: float
    """Seconds of the longest step that has ended."""


class VitalsPage:
    """The page. One thread of one process writes it."""

    def __init__(self, fd: int) -> None:
        """Maps the file; the descriptor stays the caller's."""
        self._page = mmap.mmap(fd, SIZE)
        self._beats = 0
        self._slowest = 0.0

    def close(self) -> None:
        self._page.close()

    def read(self) -> Vitals:
        beats, doing, request = _NOW.unpack_from(self._page)
        return Vitals(beats, Doing(doing), request, _SLOWEST.unpack_from(self._page, _SLOWEST_AT)[0])

    def now(self, doing: Doing, request: int = 0) -> None:
        """The thread begins with this."""
        self._beats += 1
        _NOW.pack_into(self._page, 0, self._beats, doing, request)

    def stepped(self, began: float) -> None:
        """A step has ended that began at this reading of the monotonic clock."""
        seconds = time.monotonic() - began
        if seconds > self._slowest:
            self._slowest = seconds
            _SLOWEST.pack_into(self._page, _SLOWEST_AT, seconds)


def create() -> int:
    """A file descriptor of an empty page, for both sides. Raises OSError."""
    fd = files.unnamed("threadrunner-vitals")
    os.ftruncate(fd, SIZE)
    return fd
