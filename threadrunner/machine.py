"""What this machine gives us: cores, memory and clocks, by affinity mask, cgroup and the kernel's own estimate.

The one answer for the worker, the daemon and `threadrunner doctor`: when each read the kernel in its own way, the
daemon could make room for a model by a number that the worker then refused.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import NamedTuple

from threadrunner.system import this_process

_CPU = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")


class Clocks(NamedTuple):
    """Seconds, each counted from an arbitrary start."""

    wall: float
    own: float
    """Processor time of this process."""
    idle: float
    """Idle time of all the cores that this process may use, added up."""


def physical_cores() -> int:
    """Cores of our affinity mask, hyper-threads counted once: a second thread on a core only takes its cache."""
    siblings = {_read(_CPU / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu) for cpu in _cpus()}
    return max(1, min(len(siblings), _cgroup_cores() or len(siblings)))


def clocks() -> Clocks | None:
    """None where the system does not tell how idle its cores are."""
    ours = {f"cpu{cpu}" for cpu in _cpus()}
    idle = 0
    for line in _read(Path("/proc/stat")).splitlines():
        if not line.startswith("cpu"):
            break
        name, *ticks = line.split()
        if name in ours:
            idle += int(ticks[3]) + int(ticks[4])  # idle, and idle until a disk answers
            ours.remove(name)
    if ours:
        return None
    return Clocks(time.monotonic(), time.process_time(), idle / this_process.clock_ticks())


def available_memory() -> int | None:
    """Bytes that can be taken without swapping or reaching a cgroup's limit; None where the system does not tell."""
    known = [count for count in (_meminfo_available(), _cgroup_room()) if count is not None]
    if known:
        return max(0, min(known))
    from threadrunner.system import memory  # not needed on Linux

    return memory.available()


def bytes_for(model_bytes: int) -> int:
    """Bytes of memory that a model never loaded before is expected to take: its file, and a quarter for its cache."""
    return model_bytes * 5 // 4


def resident_bytes(pid: int) -> int:
    """Bytes of memory that a process occupies (its RSS); 0 where it has gone or the system has no /proc."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError):
        return 0


def _cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _meminfo_available() -> int | None:
    return _meminfo("MemAvailable:")


def _meminfo(key: str) -> int | None:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return None


def _own_cgroups() -> list[Path]:
    """Our cgroup and those around it: each may set a limit."""
    line = next((li for li in _read(Path("/proc/self/cgroup")).splitlines() if li.startswith("0::")), "")
    path = _CGROUP / line[3:].lstrip("/")
    return [p for p in (path, *path.parents) if p.is_relative_to(_CGROUP)]


def _cgroup_room() -> int | None:
    rooms = []
    for group in _own_cgroups():
        limit, used = _read(group / "memory.max"), _read(group / "memory.current")
        if limit.isdigit() and used.isdigit():
            # file pages count as used, but the kernel gives them up
            cached = sum(
                int(line.split()[1])
                for line in _read(group / "memory.stat").splitlines()
                if line.startswith(("inactive_file ", "active_file "))
            )
            rooms.append(int(limit) - int(used) + cached)
    return min(rooms, default=None)


def _cgroup_cores() -> int | None:
    cores = []
    for group in _own_cgroups():
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            cores.append(max(1, int(quota) // int(period)))
    return min(cores, default=None)
