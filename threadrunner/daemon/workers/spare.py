"""The worker that was begun before the daemon's own imports, for the prompt that has started the daemon."""

from __future__ import annotations

import asyncio
import logging

from threadrunner.daemon.workers.child import ChildProcess
from threadrunner.daemon.workers.launch import Launched

log = logging.getLogger("threadrunner.daemon.worker")

UNUSED_AFTER = 10.0
"""Seconds until one that no request has needed is ended: it takes 40 MB."""


class Spare:
    """One process at most; given away once."""

    def __init__(self, launched: Launched | None = None, backend: str = "") -> None:
        """`launched` expects that backend."""
        self._launched = launched
        self._backend = backend
        self._timer = asyncio.get_running_loop().call_later(UNUSED_AFTER, self.close) if launched else None

    def take(self, backend: str) -> Launched | None:
        """The process, the caller's from now on; None where there is none for this backend."""
        if self._launched is None or backend != self._backend:
            return None
        taken, self._launched = self._launched, None
        if self._timer:
            self._timer.cancel()
        return taken

    def close(self) -> None:
        if taken := self.take(self._backend):
            log.debug("the spare worker (pid %d) was not needed", taken.pid)
            ChildProcess(taken.pid).kill()
            taken.close()
