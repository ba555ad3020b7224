"""How much memory there is, where the kernel does not tell it in /proc."""

from __future__ import annotations

import ctypes
import re
import sys

_SECONDS = 5
_CAN_BE_TAKEN = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX (sysinfoapi.h)."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 5),
    )


def available() -> int | None:
    """Bytes that can be taken without swapping, by the system's own estimate; None where it tells none."""
    if sys.platform == "win32":
        status = _MemoryStatus(ctypes.sizeof(_MemoryStatus))
        known = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.available) if known else None
    if sys.platform == "darwin":
        import subprocess

        try:
            said = subprocess.run(["vm_stat"], capture_output=True, text=True, timeout=_SECONDS, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            return None
        return of_vm_stat(said)
    return None


def of_vm_stat(said: str) -> int | None:
    """Bytes that can be taken, of what macOS' `vm_stat` has said (vm_stat(1)); None for anything else."""
    size = re.search(r"page size of (\d+) bytes", said)
    pages = {name: int(count) for name, count in re.findall(r"^([^:\n]+):\s+(\d+)\.$", said, re.MULTILINE)}
    found = [pages[name] for name in _CAN_BE_TAKEN if name in pages]
    return int(size[1]) * sum(found) if size and found else None
