"""The daemon's first milliseconds: what must come before its own imports. Imports next to nothing itself."""

from __future__ import annotations

import contextlib
import os

from threadrunner.daemon import inherited
from threadrunner.daemon.workers import launch


def run(ready_fd: int | None) -> int:
    """The daemon's whole life; returns the exit code. `ready_fd`: see app.run; a prompt that has started us has one."""
    inherited.shed(of_a_shell=ready_fd is not None)
    waiting = None
    if ready_fd is not None and os.environ.get("THREADRUNNER_BACKEND") in (None, "", launch.AHEAD):
        with contextlib.suppress(OSError):  # the request that needs a worker will say why there is none
            waiting = launch.launch(launch.AHEAD)
    from threadrunner.daemon import app

    return app.run(ready_fd, waiting)
