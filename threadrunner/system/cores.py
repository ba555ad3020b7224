"""On which cores this process's threads run."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from threadrunner.system.c_library import c_library


@contextlib.contextmanager
def others_elsewhere(threads: int) -> Iterator[None]:
    """While within, all other threads of this process are kept off the core that the calling thread is on; not where
    more `threads` compute than there are cores, which must share them.

    For threads that have slept and are to compute side by side. Where the system wakes one on the core of the thread
    that waits for it, which spins meanwhile, both take turns until the system looks again: on a virtual machine, whose
    kernel seems to pack what wakes up onto few cores, the first batch after a rest took 20 ms for 9.5 three times of
    four. A thread whose cores were chosen keeps them. Other systems than Linux have no such call, and nothing happens.
    """
    before, within = _choice(threads)
    moved = [thread for thread in _others() if _cores(thread) == before and _allow(thread, within)] if within else []
    try:
        yield
    finally:
        for thread in moved:
            if _cores(thread) == within:  # else somebody has chosen others meanwhile
                _allow(thread, before)


def _choice(threads: int) -> tuple[set[int], set[int]]:
    """The cores that the calling thread may use, and those of them that it is not on; none where nothing is to move."""
    if sys.platform != "linux":
        return set(), set()
    ours = os.sched_getaffinity(0)
    rest = ours - {c_library().sched_getcpu()}
    return ours, rest if 1 < threads <= len(ours) and len(rest) < len(ours) else set()


def _others() -> list[int]:
    """The numbers of this process's other threads."""
    me = threading.get_native_id()
    with contextlib.suppress(OSError):  # no /proc, or no file descriptor left for it
        return [thread for thread in map(int, os.listdir("/proc/self/task")) if thread != me]
    return []


def _cores(thread: int) -> set[int]:
    """Where it may run; nowhere, once it has ended."""
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            return os.sched_getaffinity(thread)
    return set()


def _allow(thread: int, cores: set[int]) -> bool:
    with contextlib.suppress(OSError):  # it has ended, or the system forbids it
        if sys.platform == "linux":
            os.sched_setaffinity(thread, cores)
            return True
    return False
