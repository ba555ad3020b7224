"""The daemon as a whole: its listening socket, its clients, and how it ends.

Ending has two steps, each bounded: what runs may finish (`drain`), then every worker is stopped and every client is
hung up on. A client that waits for the end waits for that hang-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable

from threadrunner import config, paths, remote_keys, remote_settings
from threadrunner.api.errors import ShuttingDown
from threadrunner.daemon import log as daemon_log
from threadrunner.daemon.acceptor import Acceptor
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.recall import Recall
from threadrunner.daemon.downloads.downloads import Downloads
from threadrunner.daemon.listener import CannotStart, DaemonSocket
from threadrunner.daemon.live_config import LiveConfig
from threadrunner.daemon.methods.context import Handler
from threadrunner.daemon.methods.conversations import SessionMethods
from threadrunner.daemon.methods.dispatch import Dispatcher
from threadrunner.daemon.methods.generate import GenerateMethods
from threadrunner.daemon.methods.generation import Generation
from threadrunner.daemon.methods.memory import MemoryMethods
from threadrunner.daemon.methods.models import ModelMethods
from threadrunner.daemon.methods.modes import Modes
from threadrunner.daemon.methods.remotes import RemoteMethods
from threadrunner.daemon.methods.status import StatusMethods
from threadrunner.daemon.models.catalog import Catalog
from threadrunner.daemon.models.last_used import LastUsed
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.peer import Peer
from threadrunner.daemon.tally import Tally
from threadrunner.daemon.workers.fleet import Fleet
from threadrunner.daemon.workers.spare import Spare
from threadrunner.daemon.workers.watch import Watch
from threadrunner.paths import PathError
from threadrunner.system import signals
from threadrunner.wire import messages

log = logging.getLogger("threadrunner.daemon")


SOCKET_EVERY = 4.0
"""Seconds between two looks at whether the socket's file is still there (two stat calls). A tidy-up of /tmp, or a
logout that removes XDG_RUNTIME_DIR, would leave a daemon that no client finds and that keeps its models; a watch on the
folder would wake the daemon twenty times a second for that. A daemon that is started meanwhile has us look at once, by
SIGHUP."""


class DaemonServer:
    """Serves one listening socket until `stop`. `log_file` gives today's file, for `status`."""

    def __init__(
        self,
        options: LiveConfig,
        listener: DaemonSocket,
        models_dir: str,
        cache_dir: str,
        log_file: Callable[[], str],
        spare: Spare,
    ) -> None:
        self.socket = listener.path
        self.started = time.monotonic()
        self._config = options
        self._config.look = self._configure
        self._log_file = log_file
        self._fleet = Fleet(options.current, cache_dir, self._announce, self._changed, spare)
        self._conversations = Conversations(paths.sessions_file())
        self._recall = Recall(self._conversations)
        self._catalog = Catalog(models_dir, options.current.aliases, options.current.remotes, options.current.catalog)
        self._dispatcher = self._dispatcher_for(cache_dir)
        self._listener = listener
        self._acceptor: Acceptor
        self._socket_timer: asyncio.TimerHandle | None = None
        self._peers: set[Peer] = set()
        self._stopping = asyncio.Event()
        self._quiet = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None
        self._config_watch = Watch(self._configure)
        self._config_seen = ModelRef("", paths.config_file()).fingerprint

    def _dispatcher_for(self, cache_dir: str) -> Dispatcher:
        """The methods, each with what it needs and no more."""
        config, fleet, catalog = self._config, self._fleet, self._catalog
        conversations, recall = self._conversations, self._recall
        tally, downloads, last_used = Tally(), Downloads(), LastUsed(cache_dir)
        generation = Generation(config, catalog, fleet, downloads, last_used, tally)
        handlers: dict[str, Handler] = {
            **GenerateMethods(config, Modes(), generation, conversations, recall).handlers(),
            **RemoteMethods(config, generation).handlers(),
            **ModelMethods(config, catalog, generation, fleet, downloads, last_used, cache_dir).handlers(),
            **SessionMethods(conversations).handlers(),
            **MemoryMethods(conversations, recall, generation, fleet).handlers(),
            **StatusMethods(self, config, fleet, tally).handlers(),
        }
        return Dispatcher(handlers, tally, lambda: self.stopping)

    def __repr__(self) -> str:
        return f"<Server {self.socket} {len(self._peers)} clients{' stopping' if self.stopping else ''}>"

    @property
    def clients(self) -> int:
        return len(self._peers)

    @property
    def log_file(self) -> str:
        return self._log_file()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin to end."""
        self._stopping.set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until stopped, then end in order; `ready` is called once clients can connect."""
        loop = asyncio.get_running_loop()
        signals.on_stop(loop, self.stop)
        signals.on_look(loop, self._look_again)
        self._acceptor = Acceptor(self._connected)
        self._acceptor.listen(self._listener.door)
        self._keep_socket()
        log.info("pid %d serves %s", os.getpid(), self.socket)
        ready()
        self._changed()
        await self._stopping.wait()
        await self._drain()
        await self._recall.close()
        await self._fleet.close()
        self._config_watch.close()
        await self._conversations.close()
        signals.ignore_look(loop)
        self._listener.remove()
        self._acceptor.close()
        for peer in list(self._peers):
            peer.close()
        log.info("pid %d has ended", os.getpid())

    async def _drain(self) -> None:
        """Let running requests finish, then end the rest with ShuttingDown."""
        log.info(
            "ending; %d requests may take %g s", sum(peer.busy for peer in self._peers), self._config.current.drain
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._until_quiet(), self._config.current.drain)
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
        return Peer(self._dispatcher.dispatch, self)

    # What a peer tells of its life.

    def made(self, peer: Peer) -> None:
        self._peers.add(peer)
        self._acceptor.clients(len(self._peers))
        self._changed()

    def quiet(self, _peer: Peer) -> None:
        self._quiet.set()

    def gone(self, peer: Peer) -> None:
        self._peers.discard(peer)
        self._acceptor.clients(len(self._peers))
        self._quiet.set()
        self._changed()

    def _announce(self, event: str, model: str, facts: dict[str, object]) -> None:
        log.info("%s %s %s", event, model, facts or "")
        for peer in self._peers:
            if peer.events & {event, "*"}:
                peer.send(messages.notification("event", {"event": event, "model": model, "data": facts}))

    def _changed(self) -> None:
        """A client or a model has arrived or left: the daemon may not be needed any more."""
        if self._fleet.loaded:
            self._config_watch.files({paths.config_file()})
        if self._idle:
            self._idle.cancel()
            self._idle = None
        if self._config.current.idle_exit and not self._peers and not self._fleet.loaded:
            self._idle = asyncio.get_running_loop().call_later(self._config.current.idle_exit, self.stop)

    def _configure(self) -> None:
        """config.toml may have changed. One that is wrong is reported, and the options stay as they were."""
        # Its folder has other files too, the database of conversations among them, which is written all the time.
        seen = ModelRef("", paths.config_file()).fingerprint
        if seen == self._config_seen:
            return
        self._config_seen = seen
        try:
            fresh = config.load()
        except config.ConfigError as error:
            log.error("%s", error)
            if self._config.fault:
                self._config.fault = str(error)
            self._announce("config.failed", "", {"message": str(error)})
            return
        self._config.fault = ""
        if fresh != self._config.current:
            remote_keys.take_from_environment(remote_settings.environment_names(fresh))
            self._config.current = fresh
            self._catalog.configure(fresh.aliases, fresh.remotes, fresh.catalog)
            self._fleet.configure(fresh)
            daemon_log.set_levels(fresh.log)
            self._announce("config.loaded", "", {})

    def _look_again(self) -> None:
        """SIGHUP: look at config.toml and at the socket's file now."""
        self._configure()
        self._keep_socket()

    def _keep_socket(self) -> None:
        """See SOCKET_EVERY. End in order where clients cannot find us any more."""
        if self._socket_timer is not None:
            self._socket_timer.cancel()
        self._socket_timer = asyncio.get_running_loop().call_later(SOCKET_EVERY, self._keep_socket)
        if self._listener.in_place or self.stopping:
            return
        try:
            if self._listener.restore():
                self._acceptor.listen(self._listener.door)
            log.warning("%s had been removed and was put back", self.socket)
        except (CannotStart, PathError, OSError) as error:
            log.error("%s is gone and cannot be put back: %s. The daemon ends", self.socket, error)
            self.stop()
