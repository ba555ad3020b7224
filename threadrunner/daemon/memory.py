"""Bytes of memory, as the kernel tells."""

from __future__ import annotations

import os


def rss(pid: int) -> int:
    """Resident bytes of a process; 0 where it has gone or the system has no /proc."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def available() -> int:
    """Bytes that new processes may take: the machine's, or this control group's if that is less."""
    free = [_meminfo(), _cgroup()]
    return min(value for value in free if value is not None) if any(v is not None for v in free) else 1 << 62


def _meminfo() -> int | None:
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _cgroup() -> int | None:
    try:
        with open("/sys/fs/cgroup/memory.max", "rb") as limit, open("/sys/fs/cgroup/memory.current", "rb") as used:
            most = limit.read().strip()
            return None if most == b"max" else int(most) - int(used.read())
    except (OSError, ValueError):
        return None
