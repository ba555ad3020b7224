"""Starts a worker's process. Imports next to nothing: a daemon that a prompt has started begins a worker before its own
imports, since that prompt will need one, and both have 100 ms of imports that two cores do at the same time.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from threadrunner.system import children
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
        children.close_socket(self.socket)
        for fd in (self.stderr, self.vitals):
            os.close(fd)


def launch(expected: str = "") -> Launched:
    """A new process; it imports the backend that is `expected` before it is told which it needs. Raises OSError."""
    page = vitals.create()
    # not -m, which imports runpy and with it 4 ms of other modules
    program = [sys.executable, "-P", "-c", MAIN]
    try:
        # unbuffered: a crash loses no last words
        pid, sock, stderr = children.start_worker(program, [expected] if expected else [], _environment(expected), page)
    except BaseException:
        os.close(page)
        raise
    return Launched(pid, sock, stderr, page)


def _environment(expected: str) -> dict[str, str]:
    """Ours, without what is named as a secret: our own backends need none. An installed one may, and gets what is not
    the key of a remote (`remote_keys.take_from_environment`)."""
    kept = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return {name: value for name, value in kept.items() if not (expected in _OWN and name.upper().endswith(_SECRETS))}
