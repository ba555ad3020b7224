"""Starts a worker's process. Imports next to nothing: a daemon that a prompt has started begins a worker before its own
imports, since that prompt will need one, and both have 100 ms of imports that two cores do at the same time.
"""

from __future__ import annotations

import _socket  # the C part of `socket`: its Python part would be waited for here
import os
import sys
from typing import NamedTuple

from threadrunner.worker import vitals

MAIN = "import sys; from threadrunner.worker import loop; sys.exit(loop.main(sys.argv))"

_OWN = ("llama", "dummy", "remote")
_SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
"""How the names of variables end that hold one; the key of a remote must be in one of these (remote_settings.py)."""

AHEAD = "llama"
"""The backend that a worker begun ahead expects."""


class Launched(NamedTuple):
    """A process that waits for Load, and our file descriptors for it."""

    pid: int
    socket: int
    """For messages."""
    stderr: int
    """What it writes to standard error can be read here."""
    vitals: int
    """Its page, see worker/vitals.py."""

    def close(self) -> None:
        """Close the descriptors, which ends a process that waits for Load."""
        for fd in (self.socket, self.stderr, self.vitals):
            os.close(fd)


def launch(expected: str = "") -> Launched:
    """A new process; it imports the backend that is `expected` before it is told which it needs. Raises OSError."""
    ours: list[int] = []
    theirs: list[int] = []
    try:
        mine, its = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        ours.append(mine.detach())
        theirs.append(its.detach())
        read, write = os.pipe()
        ours.append(read)
        theirs.append(write)
        ours.append(vitals.create())
        return Launched(_spawn(theirs[0], ours[2], write, expected), ours[0], read, ours[2])
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)


def _environment(expected: str) -> dict[str, str]:
    """Ours, without what is named as a secret: our own backends need none. An installed one may, and gets what is not
    the key of a remote (`remote_keys.take_from_environment`)."""
    kept = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return {name: value for name, value in kept.items() if not (expected in _OWN and name.upper().endswith(_SECRETS))}


def _spawn(sock: int, page: int, stderr: int, expected: str) -> int:
    # not -m, which imports runpy and with it 4 ms of other modules
    argv = [sys.executable, "-P", "-c", MAIN, str(sock), str(page), *([expected] if expected else [])]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
    ]
    for fd in (sock, page):
        os.set_inheritable(fd, True)
    try:
        # unbuffered: a crash loses no last words
        return os.posix_spawn(argv[0], argv, _environment(expected), file_actions=actions)
    finally:
        os.set_inheritable(page, False)
