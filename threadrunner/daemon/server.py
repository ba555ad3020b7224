"""The daemon as a whole: its listening socket, its clients, and how it ends.

Ending has two steps, each bounded: what runs may finish (`drain`), then every worker is stopped and every client is
hung up on. A client that waits for the end waits for that hang-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from threadrunner import config, paths
from threadrunner.api.errors import ShuttingDown
from threadrunner.config import Config
from threadrunner.daemon import log as daemon_log
from threadrunner.daemon import v1
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.recall import Memory
from threadrunner.daemon.downloads.downloads import Downloads
from threadrunner.daemon.methods import dispatch
from threadrunner.daemon.models import catalog
from threadrunner.daemon.models.last_used import LastUsed
from threadrunner.daemon.outbox import notification
from threadrunner.daemon.peer import Call, Peer
from threadrunner.daemon.tally import Tally
from threadrunner.daemon.workers.fleet import Fleet
from threadrunner.daemon.workers.watch import Watch

log = logging.getLogger("threadrunner.daemon")


class DaemonServer:
    """Serves one listening socket until `stop`. `log_file` gives today's file, for those who ask for status."""

    def __init__(
        self, options: Config, sock: socket.socket, models_dir: str, cache_dir: str, log_file: Callable[[], str]
    ) -> None:
        self.config = options
        self.models_dir = models_dir
        self.log_file = log_file
        self.socket = str(sock.getsockname())
        self.started = time.monotonic()
        self.fleet = Fleet(options, cache_dir, self._announce, self._changed)
        self.pulls = Downloads()
        self.usage = LastUsed(cache_dir)
        self.tally = Tally()
        self.sessions = Conversations(paths.sessions_file())
        self.memory = Memory(self.sessions)
        self._sock = sock
        self._peers: set[Peer] = set()
        self._stopping = asyncio.Event()
        self._quiet = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None
        self._config_watch = Watch(self._configure)
        self._config_seen = catalog.ModelRef("", paths.config_file()).fingerprint

    def __repr__(self) -> str:
        return f"<Server {self.socket} {len(self._peers)} clients{' stopping' if self.stopping else ''}>"

    @property
    def clients(self) -> int:
        return len(self._peers)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin to end."""
        self._stopping.set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until stopped, then end in order; `ready` is called once clients can connect."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        server = await loop.create_unix_server(self._connected, sock=self._sock, backlog=256)
        log.info("pid %d serves %s", os.getpid(), self.socket)
        ready()
        self._changed()
        await self._stopping.wait()
        await self._drain()
        await self.memory.close()
        await self.fleet.close()
        self._config_watch.close()
        await self.sessions.close()
        self._remove_socket()
        server.close()
        for peer in list(self._peers):
            peer.close()
        log.info("pid %d has ended", os.getpid())

    async def _drain(self) -> None:
        """Let running requests finish, then end the rest with ShuttingDown."""
        log.info("ending; %d requests may take %g s", sum(peer.busy for peer in self._peers), self.config.drain)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._until_quiet(), self.config.drain)
        late = [peer for peer in self._peers if peer.busy]
        for peer in late:
            peer.cancel(ShuttingDown("the daemon was stopped before the answer was complete"))
        if late:
            await self._until_quiet()

    async def _until_quiet(self) -> None:
        while any(peer.busy for peer in self._peers):
            self._quiet.clear()
            await self._quiet.wait()

    def _connected(self) -> Peer:
        return Peer(self._serve, self._serve_line, self)

    # What a peer tells of its life.

    def made(self, peer: Peer) -> None:
        self._peers.add(peer)
        self._changed()

    def quiet(self, peer: Peer) -> None:
        self._quiet.set()

    def gone(self, peer: Peer) -> None:
        self._peers.discard(peer)
        self._quiet.set()
        self._changed()

    async def _serve(self, call: Call, message: Any) -> dict[str, Any] | None:
        return await dispatch.dispatch(self, call, message)

    async def _serve_line(self, call: Call, message: dict[str, Any]) -> dict[str, Any]:
        return await v1.serve(self, call, message)

    def _announce(self, event: str, model: str, facts: dict[str, object]) -> None:
        log.info("%s %s %s", event, model, facts or "")
        for peer in self._peers:
            if peer.events & {event, "*"}:
                peer.send(notification("event", {"event": event, "model": model, "data": facts}))

    def _changed(self) -> None:
        """A client or a model has come or gone: perhaps nobody needs the daemon any more."""
        if self.fleet.loaded:
            self._config_watch.files({paths.config_file()})
        if self._idle:
            self._idle.cancel()
            self._idle = None
        if self.config.idle_exit and not self._peers and not self.fleet.loaded:
            self._idle = asyncio.get_running_loop().call_later(self.config.idle_exit, self.stop)

    def _configure(self) -> None:
        """config.toml may have changed. One that is wrong is reported, and the options stay as they were."""
        # Its folder has other files too, the database of conversations among them, which is written all the time.
        seen = catalog.ModelRef("", paths.config_file()).fingerprint
        if seen == self._config_seen:
            return
        self._config_seen = seen
        try:
            fresh = config.load()
        except config.ConfigError as error:
            log.error("%s", error)
            self._announce("config.failed", "", {"message": str(error)})
            return
        if fresh != self.config:
            self.config = fresh
            self.fleet.configure(fresh)
            daemon_log.set_levels(fresh.log)
            self._announce("config.loaded", "", {})

    def _remove_socket(self) -> None:
        """Only a socket of our own making: systemd keeps listening on its one, and starts us again."""
        if "LISTEN_FDS" not in os.environ:
            with contextlib.suppress(OSError):
                os.unlink(self.socket)
