"""Handlers of status, subscribe and shutdown."""

from __future__ import annotations

import os
import time
from typing import Protocol

from threadrunner import __version__, machine
from threadrunner.api.status import NoParams, Status, Stopping, Subscribed, SubscribeParams
from threadrunner.daemon.live_config import LiveConfig
from threadrunner.daemon.methods.context import Call, Handler, plain
from threadrunner.daemon.tally import Tally
from threadrunner.daemon.workers.fleet import Fleet


class DaemonProcess(Protocol):
    """The process as a whole."""

    socket: str
    started: float
    """On the clock time.monotonic()."""

    @property
    def clients(self) -> int: ...

    @property
    def log_file(self) -> str: ...

    def stop(self) -> None: ...


class StatusMethods:
    """How the daemon is, and its end."""

    def __init__(self, daemon: DaemonProcess, config: LiveConfig, fleet: Fleet, tally: Tally) -> None:
        self._daemon = daemon
        self._config = config
        self._fleet = fleet
        self._tally = tally

    def handlers(self) -> dict[str, Handler]:
        return {"status": plain(self.status), "subscribe": self.subscribe, "shutdown": plain(self.shutdown)}

    async def status(self, _params: NoParams) -> Status:
        return Status(
            version=__version__,
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self._daemon.started, 1),
            rss_bytes=machine.resident_bytes(os.getpid()),
            backend=self._config.current.backend,
            model=self._config.default_model,
            models=self._fleet.status(),
            clients=self._daemon.clients,
            socket=self._daemon.socket,
            log=self._daemon.log_file,
            work=self._tally.work(),
            errors=dict(self._tally.errors),
        )

    async def subscribe(self, call: Call, params: SubscribeParams) -> Subscribed:
        events = frozenset(params.events)
        call.outlet.subscribe(events)
        return Subscribed(sorted(events))

    async def shutdown(self, _params: NoParams) -> Stopping:
        self._daemon.stop()
        return Stopping(os.getpid())
