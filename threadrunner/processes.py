"""Which process a pid means. A number in a file is not a process: it may be of another pid namespace (a daemon in a
container calls itself 1), or belong to another process by now. Standard library only.
"""

from __future__ import annotations

import os

from threadrunner.system import this_process


def daemon(path: str, *candidates: int) -> int:
    """The first of `candidates`, or else the pid in the lock file of the socket at `path`, if that process has the lock
    file open, as a daemon has for its whole life; 0 where none has, e.g. because it is in another namespace.

    A listening socket is not enough: one that systemd has made is systemd's until the daemon listens too.
    """
    for pid in (*candidates, written(path)):
        if pid > 0 and _has_open(pid, f"{path}.lock"):
            return pid
    return 0


def written(path: str) -> int:
    """The pid that the lock file of the socket at `path` names; 0 for none. Proves nothing, see `daemon`."""
    try:
        with open(f"{path}.lock", "rb") as file:
            return int(file.read(64).split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _has_open(pid: int, file: str) -> bool:
    if this_process.NAME != "linux":  # no /proc, and no namespaces: the lock is held, so the pid in it is its holder's
        return True
    try:
        wanted = os.stat(file)
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), wanted):
                    return True
            except OSError:  # closed meanwhile
                continue
    except OSError:
        pass
    return False


def is_suspended(pid: int) -> bool:
    """Whether it was stopped, e.g. by SIGSTOP or Ctrl-Z, and so does nothing until SIGCONT."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in (b"T", b"t")
    except OSError:
        return False


def remedy(pid: int) -> str:
    """What to do about a daemon that does not answer; `pid` is what `daemon` found."""
    if not pid:
        return "its process cannot be seen from here (is it in a container?): end it there"
    if is_suspended(pid):
        return f"its process is suspended: `kill -CONT {pid}` lets it go on, `kill -9 {pid}` ends it"
    return f"`threadrunner logs` may say why, `kill -9 {pid}` ends it"
