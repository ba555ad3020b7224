"""The loaded models: carries out what their supervisors decide.

Each model has one supervisor for as long as the daemon runs, and a process while that says so. Times come from the
event loop's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable

import msgspec

from threadrunner.api import types as t
from threadrunner.api.errors import ApiError, WorkerCrashed
from threadrunner.backends.base import ModelFacts, ModelSpec
from threadrunner.config import Config
from threadrunner.daemon import catalog, memory, residency
from threadrunner.daemon.supervisor import Effect, Grant, Refuse, Start, State, Stop, Supervisor
from threadrunner.daemon.worker_process import Sink, WorkerProcess

log = logging.getLogger("threadrunner.daemon.fleet")

Announce = Callable[[str, str, dict[str, object]], None]
"""Called with event, model's name, facts."""


class Lease:
    """The right to use one model's worker until the `async with` that gave it ends."""

    def __init__(self, resident: Resident, process: WorkerProcess) -> None:
        self.resident = resident
        self._process = process

    async def request(self, method: str, priority: str, params: msgspec.Struct, sink: Sink) -> bytes:
        """The JSON of the method's result. Raises ApiError."""
        return await self._process.request(method, priority, params, sink)


class Resident:
    """One model: its supervisor, its process while there is one, and those who wait for it."""

    def __init__(self, model: catalog.Model, backend: str, fleet: Fleet) -> None:
        self.model = model
        self.backend = backend
        self.supervisor = Supervisor(model.name, fleet.config.keep_alive)
        self.process: WorkerProcess | None = None
        self.facts = ModelFacts(context=0)
        self.sinks: set[Sink] = set()
        self._fleet = fleet
        self._fingerprint = ""
        self._timer: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        return f"{self.backend} {self.model.path or self.model.name}"

    @contextlib.asynccontextmanager
    async def lease(self, keep_alive: float | None, sink: Sink) -> AsyncIterator[Lease]:
        """Use the model, loading it first if need be; the sink hears of the load. Raises ApiError."""
        await self._acquire(keep_alive, sink)
        try:
            if self.process is None:  # it died between the grant and our waking
                raise self.supervisor.error or WorkerCrashed(f"the worker of {self.model.name} has gone")
            yield Lease(self, self.process)
        finally:
            self.apply(self.supervisor.release(_now()))

    async def _acquire(self, keep_alive: float | None, sink: Sink) -> None:
        if self.supervisor.error and self._fingerprint != self.model.fingerprint:
            self.supervisor.forgive()
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sinks.add(sink)
        try:
            self.apply(self.supervisor.acquire(ticket, _now(), keep_alive))
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():  # granted, and cancelled before we woke
                self.apply(self.supervisor.release(_now()))
            else:
                self.supervisor.abandon(ticket, _now())
                self._set_timer()
            raise
        finally:
            self.sinks.discard(sink)

    def apply(self, effects: list[Effect]) -> None:
        """Do what the supervisor has decided, then arrange to be woken when it wants to decide again."""
        for effect in effects:
            match effect:
                case Grant(ticket):
                    if isinstance(ticket, asyncio.Future) and not ticket.done():
                        ticket.set_result(None)
                    else:
                        self.apply(self.supervisor.release(_now()))
                case Refuse(ticket, error):
                    if isinstance(ticket, asyncio.Future) and not ticket.done():
                        ticket.set_exception(error)
                case Start():
                    self._starting = asyncio.create_task(self._start(), name=f"start {self.model.name}")
                case Stop():
                    assert self.process
                    self.process.stop()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        at = self.supervisor.expires_at
        if at is not None:
            self._timer = asyncio.get_running_loop().call_at(at, lambda: self.apply(self.supervisor.tick(_now())))

    async def _start(self) -> None:
        await self._fleet.make_room(self)
        self._fingerprint = self.model.fingerprint
        self._fleet.announce("model.loading", self.model.name, {})
        self.process = WorkerProcess(self.model.name, self)
        self.process.start(self.backend, self._fleet.spec(self.model))

    async def close(self) -> None:
        """End the process, busy or not."""
        if self._starting:
            self._starting.cancel()
        if process := self.process:
            process.stop()
            await process.wait()

    # What the process tells its owner.

    def loading(self, done: int, total: int) -> None:
        for sink in self.sinks:
            sink.progress("load", done, total)

    def loaded(self, facts: ModelFacts) -> None:
        self.facts = facts
        self._fleet.announce("model.loaded", self.model.name, {"context": facts.context})
        self.apply(self.supervisor.loaded(_now()))

    def load_failed(self, error: ApiError) -> None:
        log.error("%s: %s", self.model.name, error.message)
        self._fleet.announce("model.failed", self.model.name, {**error.data, "message": error.message})
        self.apply(self.supervisor.load_failed(error, _now()))

    def ended(self, crash: ApiError | None) -> None:
        self.process = None
        event = "model.failed" if crash else "model.unloaded"
        self._fleet.announce(event, self.model.name, {**crash.data, "message": crash.message} if crash else {})
        self.apply(self.supervisor.exited(crash, _now()))
        self._fleet.changed()

    def status(self) -> t.ModelStatus:
        supervisor, gauges = self.supervisor, self.process.gauges if self.process else {}
        stopped = supervisor.state is State.STOPPED
        expires = supervisor.expires_at
        return t.ModelStatus(
            name=self.model.name,
            path=self.model.path,
            backend=self.backend,
            state="failed" if stopped else supervisor.state.value,  # type: ignore[arg-type]  # State's own values
            pid=self.process.pid if self.process else None,
            rss_bytes=memory.rss(self.process.pid) if self.process and self.process.pid else 0,
            context=self.facts.context,
            active=supervisor.active,
            queued=int(gauges.get("queued", 0)) + len(supervisor.waiting),
            cached_tokens=int(gauges.get("cached_tokens", 0)),
            idle_s=round(_now() - supervisor.idle_since, 1) if supervisor.idle and not stopped else 0.0,
            expires_s=None if expires is None else round(expires - _now(), 1),
            error=supervisor.error.message if supervisor.error else None,
            facts={**self.facts.facts, **gauges},
        )


class Fleet:
    """All models that were ever asked for, by backend and file."""

    def __init__(self, config: Config, cache_dir: str, announce: Announce, changed: Callable[[], None]) -> None:
        self.config = config
        self.announce = announce
        self.changed = changed
        self._cache_dir = cache_dir
        self._residents: dict[str, Resident] = {}

    def resident(self, model: catalog.Model, backend: str) -> Resident:
        made = Resident(model, backend, self)
        return self._residents.setdefault(made.key, made)

    @property
    def loaded(self) -> list[Resident]:
        """Those that have a process or wait for one."""
        return [r for r in self._residents.values() if r.supervisor.state is not State.STOPPED]

    def spec(self, model: catalog.Model) -> ModelSpec:
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

    async def make_room(self, newcomer: Resident) -> None:
        """Unload idle models, the least recently used first, if the newcomer would not fit beside them."""
        if not newcomer.model.path or not newcomer.model.present:
            return
        others = [r for r in self.loaded if r is not newcomer and r.process]
        seen = [
            residency.Resident(
                r.key, memory.rss(r.process.pid) if r.process and r.process.pid else 0, r.supervisor.idle,
                r.supervisor.idle_since,
            )
            for r in others
        ]  # fmt: skip
        needed = os.path.getsize(newcomer.model.path) * 5 // 4
        for key in residency.victims(seen, needed, memory.available()):
            victim = self._residents[key]
            log.info("unloading %s to make room for %s", victim.model.name, newcomer.model.name)
            process = victim.process
            victim.apply(victim.supervisor.unload(_now()))
            if process and victim.supervisor.state is State.STOPPING:
                await process.wait()

    def unload(self, residents: list[Resident]) -> None:
        for resident in residents:
            resident.apply(resident.supervisor.unload(_now()))

    async def close(self) -> None:
        """End every process, busy or not, and wait for that."""
        await asyncio.gather(*(resident.close() for resident in self._residents.values()))

    def status(self) -> list[t.ModelStatus]:
        residents = self._residents.values()
        return [r.status() for r in residents if r.supervisor.state is not State.STOPPED or r.supervisor.error]


def _now() -> float:
    return asyncio.get_running_loop().time()
