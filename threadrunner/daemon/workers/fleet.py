"""All models that were asked for: finds each one's resident, makes room, and swaps a model whose file has changed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import AsyncIterator, Callable

from threadrunner import machine
from threadrunner.api.errors import ApiError, WorkerCrashed
from threadrunner.api.generation import GenerateParams
from threadrunner.api.status import ModelStatus
from threadrunner.backends.base import ModelSpec
from threadrunner.config import Config
from threadrunner.daemon.models import catalog
from threadrunner.daemon.workers import eviction, file_change
from threadrunner.daemon.workers.file_change import Change
from threadrunner.daemon.workers.lifecycle import State
from threadrunner.daemon.workers.process import Sink
from threadrunner.daemon.workers.resident import Lease, Resident
from threadrunner.daemon.workers.watch import Watch

log = logging.getLogger("threadrunner.daemon.fleet")

Announce = Callable[[str, str, dict[str, object]], None]
"""Called with event, model's name, facts."""


class _Nobody:
    """A sink for requests of our own."""

    def piece(self, index: int, text: str) -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None: ...


class Fleet:
    """By backend and file. `changed` is called whenever a model has come, gone or become idle."""

    def __init__(self, config: Config, cache_dir: str, announce: Announce, changed: Callable[[], None]) -> None:
        self.config = config
        self.announce = announce
        self._cache_dir = cache_dir
        self._on_change = changed
        self._residents: dict[str, Resident] = {}
        self._retired: set[Resident] = set()  # replaced by a newer file's, still finishing what they had begun
        self._reloads: dict[str, asyncio.Task[None]] = {}
        self._rejected: dict[str, str] = {}  # key -> fingerprint of a new file that turned out to be no good
        self._measured: dict[str, int] = {}  # path -> bytes that it took when it was last loaded
        self._one_newcomer = asyncio.Lock()
        self._movement = asyncio.Event()
        self._watch = Watch(self.look)

    @property
    def keep_alive(self) -> float:
        return self.config.keep_alive

    @property
    def every(self) -> list[Resident]:
        return [*self._residents.values(), *self._retired]

    @property
    def loaded(self) -> list[Resident]:
        """Those that have a process or wait for one."""
        return [r for r in self.every if r.lifecycle.state is not State.STOPPED]

    @contextlib.asynccontextmanager
    async def lease(
        self, model: catalog.ModelRef, backend: str, keep_alive: float | None, sink: Sink
    ) -> AsyncIterator[Lease]:
        """Use a model; see Resident.lease. Which resident that is, is decided only now: it may have been replaced."""
        made = Resident(model, backend, self)
        async with self._residents.setdefault(made.key, made).lease(keep_alive, sink) as lease:
            yield lease

    def spec(self, model: catalog.ModelRef) -> ModelSpec:
        """What the worker is told of the model."""
        config = self.config
        return ModelSpec(
            name=model.name,
            path=model.path,
            fingerprint=model.fingerprint,
            context=config.context,
            threads=config.threads,
            memory_limit=config.memory_limit,
            max_queued=config.max_queued,
            cache_dir=self._cache_dir if config.cache_bytes else "",
            cache_bytes=config.cache_bytes,
        )

    def changed(self) -> None:
        """A resident says that it has come, gone or become idle."""
        for resident in self.loaded:
            if resident.model.path:
                self._measured[resident.model.path] = max(
                    resident.rss_bytes, self._measured.get(resident.model.path, 0)
                )
        self._retired = {r for r in self._retired if r.lifecycle.state is not State.STOPPED}
        self._movement.set()
        self._watch.files({r.model.path for r in self.loaded if r.model.path})
        self._on_change()

    async def make_room(self, newcomer: Resident) -> None:
        """Return when the newcomer fits, as far as can be told; unloads who is idle, waits for who is busy.

        One newcomer at a time, so that two do not count on the same room.
        """
        if not newcomer.model.present:
            return
        async with self._one_newcomer:
            while True:
                self._movement.clear()
                room = eviction.plan(self._seen(newcomer), self.predict(newcomer.model), self._available())
                leaving = [r for r in self.every if r.key in room.unload and r.process]
                for resident in leaving:
                    log.info("unloading %s to make room for %s", resident.model.name, newcomer.model.name)
                    resident.unload()
                await asyncio.gather(*(r.gone.wait() for r in leaving if r.lifecycle.state is State.STOPPING))
                if not room.wait:
                    return
                log.info("%s waits until a busy model can be unloaded", newcomer.model.name)
                await self._movement.wait()

    def predict(self, model: catalog.ModelRef) -> int:
        """Bytes that a load will take: what it took the last time, else its file and a quarter for the cache."""
        return self._measured.get(model.path) or machine.bytes_for(os.path.getsize(model.path))

    def _seen(self, newcomer: Resident) -> list[eviction.EvictionCandidate]:
        return [
            eviction.EvictionCandidate(r.key, r.rss_bytes, r.lifecycle.idle, r.lifecycle.idle_since)
            for r in self.loaded
            if r is not newcomer and r.process
        ]

    def _available(self) -> int:
        """Bytes for models: the machine's, less what others that are loading have yet to take, within our own limit."""
        coming = sum(
            max(0, self.predict(r.model) - r.rss_bytes)
            for r in self.loaded
            if r.process and r.lifecycle.state is State.STARTING and r.model.present
        )
        available = machine.available_memory()
        limits = [] if available is None else [available - eviction.RESERVE]
        if self.config.memory_total:
            limits.append(self.config.memory_total - sum(r.rss_bytes for r in self.loaded))
        return min(limits, default=1 << 62) - coming

    async def unload(self, residents: list[Resident]) -> None:
        """Returns when those that were idle are gone; a busy one goes after its last request."""
        for resident in residents:
            resident.unload()
        await asyncio.gather(*(r.gone.wait() for r in residents if r.lifecycle.state is State.STOPPING))

    async def close(self) -> None:
        """End every process, busy or not, and wait for that."""
        self._watch.close()
        for task in self._reloads.values():
            task.cancel()
        await asyncio.gather(*(resident.close() for resident in self.every))

    def status(self) -> list[ModelStatus]:
        return [r.status() for r in self.every if r.lifecycle.state is not State.STOPPED or r.lifecycle.error]

    def configure(self, config: Config) -> None:
        """New options hold from now on; those that a worker was started with, from its next load."""
        self.config = config
        for resident in self.every:
            resident.lifecycle.default_keep_alive = config.keep_alive

    # A model's file has changed

    def look(self) -> None:
        """Something has changed in a folder of a loaded model: find out what."""
        for resident in list(self._residents.values()):
            if not resident.process or resident.lifecycle.state is State.STOPPING:
                continue
            now = resident.model.fingerprint
            match file_change.judge(resident.fingerprint, now):
                case Change.REWRITTEN:
                    log.warning("%s was written in place while in use", resident.model.path)
                    self.announce("model.reloading", resident.model.name, {"how": "rewritten"})
                    resident.discard(_overwritten(resident.model))
                case Change.REPLACED if resident.key not in self._reloads and self._rejected.get(resident.key) != now:
                    task = asyncio.create_task(self._reload(resident), name=f"reload {resident.model.name}")
                    self._reloads[resident.key] = task
                    task.add_done_callback(functools.partial(self._reloaded, resident.key))

    def _reloaded(self, key: str, _: object) -> None:
        del self._reloads[key]
        self.look()  # the file may have been replaced once more meanwhile

    async def _reload(self, old: Resident) -> None:
        """Bring up the new file's worker beside the old one; it takes over once it has generated a real token."""
        fingerprint = old.model.fingerprint
        self.announce("model.reloading", old.model.name, {"how": "replaced"})
        successor = Resident(old.model, old.backend, self)
        if self.predict(old.model) > self._available():
            # No room for both. What runs ends on the old one, what comes waits for the new one.
            self._take_over(old, successor)
            await old.gone.wait()
        try:
            async with successor.lease(old.lifecycle.keep_alive, _Nobody()) as lease:
                probe = GenerateParams(prompt="Hello", max_tokens=1, temperature=0.0)
                await lease.request("generate", "normal", probe, _Nobody())
                if self._residents[old.key] is old:
                    self._take_over(old, successor)
        except ApiError as error:
            log.error("the new %s is no good, the old one stays: %s", old.model.path, error.message)
            self._rejected[old.key] = fingerprint
            await successor.close()

    def _take_over(self, old: Resident, successor: Resident) -> None:
        self._residents[old.key] = successor
        self._rejected.pop(old.key, None)
        self._retired.add(old)
        old.unload()
        self.announce("model.reloaded", old.model.name, {})


def _overwritten(model: catalog.ModelRef) -> WorkerCrashed:
    return WorkerCrashed(
        f"the file of {model.name} was overwritten while it was in use, so the rest of this answer cannot be trusted. "
        "Ask again: the new file is loaded once it is whole. Replacing a file by rename (mv) interrupts nobody.",
        signal=None,
        exit_code=None,
        cause="file overwritten",
    )
