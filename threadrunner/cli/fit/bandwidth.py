"""How fast this machine's memory is read: what a token costs, since all weights are read for each.

Measured once, for about a second, and kept in the cache folder with what it was measured on.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import threading
import time

from threadrunner import machine, paths
from threadrunner.system.c_library import c_library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BYTES = 96 << 20
"""Of each thread's two buffers: more than any cache holds."""
_SECONDS = 0.7


def bytes_per_second() -> float:
    """Of reading, by as many threads as compute; measured where no figure for this machine is kept."""
    identity = _identity()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        with open(_file()) as file:
            kept = json.load(file)
        if kept["machine"] == identity and kept["bytes_per_second"] > 0:
            return float(kept["bytes_per_second"])
    measured = measure(machine.physical_cores())
    _keep({"machine": identity, "bytes_per_second": measured})
    return measured


def measure(threads: int) -> float:
    """The fastest of some rounds: another program can only make it slower."""
    compare: Any = c_library().memcmp  # reads both to the end where they are the same; ctypes lets go of the GIL
    compare.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    buffers = [(ctypes.create_string_buffer(_BYTES), ctypes.create_string_buffer(_BYTES)) for _ in range(threads)]
    for one, other in buffers:  # untouched pages are all the same one
        ctypes.memset(one, 1, _BYTES)
        ctypes.memset(other, 1, _BYTES)
    best = 0.0
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        workers = [threading.Thread(target=compare, args=(one, other, _BYTES)) for one, other in buffers]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, threads * 2 * _BYTES / (time.perf_counter() - began))
    return best


def _identity() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {machine.physical_cores()} cores"
    return f"{platform.machine()}, {machine.physical_cores()} cores"


def _file() -> str:
    return os.path.join(paths.cache_dir(), "bandwidth.json")


def _keep(measured: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        paths.make_home()
        os.makedirs(paths.cache_dir(), mode=0o700, exist_ok=True)
        with open(_file(), "w") as file:
            json.dump(measured, file)
