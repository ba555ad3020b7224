"""All models that were asked for: finds each one's resident, and makes room for one that is being loaded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable

from threadrunner import machine, model_defaults, model_settings
from threadrunner.api.errors import InvalidParams, ModelLoadFailed
from threadrunner.api.status import ModelStatus
from threadrunner.backends.base import ModelFacts, ModelSpec
from threadrunner.config import Config, ConfigError
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.workers import eviction, vram
from threadrunner.daemon.workers.lifecycle import State
from threadrunner.daemon.workers.process import WorkerProcess
from threadrunner.daemon.workers.reload import Reloads
from threadrunner.daemon.workers.resident import Lease, Resident
from threadrunner.daemon.workers.roster import Roster
from threadrunner.daemon.workers.servers import Servers
from threadrunner.daemon.workers.sink import Sink
from threadrunner.daemon.workers.spare import Spare
from threadrunner.daemon.workers.specification import Companions, specification
from threadrunner.daemon.workers.watch import Watch
from threadrunner.model_defaults import ModelDefaults
from threadrunner.model_settings import ModelSettings
from threadrunner.remote_settings import RemoteModel

log = logging.getLogger("threadrunner.daemon.fleet")

Announce = Callable[[str, str, dict[str, object]], None]
"""Called with event, model's name, facts."""


class Fleet:
    """The residents, by backend and file. `changed` is called when one was loaded, has ended or is idle."""

    def __init__(
        self,
        config: Config,
        cache_dir: str,
        announce: Announce,
        changed: Callable[[], None],
        spare: Spare | None = None,
    ) -> None:
        self.config = config
        self.announce = announce
        self._cache_dir = cache_dir
        self._on_change = changed
        self._spare = spare or Spare()
        self._servers = Servers()
        self.roster = Roster()
        self._retired: set[Resident] = set()  # replaced by a newer file's, still finishing what they had begun
        self._measured: dict[str, int] = {}  # path -> bytes that it took when it was last loaded
        self._vram_capacity = 0  # bytes of the GPUs' memory for all models together, as last reported
        self._vram_heard: dict[Resident, ModelFacts] = {}
        self._vram_measured: dict[str, int] = {}  # as _measured, of the GPUs' memory
        self._one_newcomer = asyncio.Lock()
        self._movement = asyncio.Event()
        self._reloads = Reloads(self)
        self._watch = Watch(self._reloads.look)

    @property
    def keep_alive(self) -> float:
        """Seconds that an idle model stays loaded if its last request does not say."""
        return self.config.keep_alive

    @property
    def current(self) -> list[Resident]:
        """The residents that new requests go to."""
        return self.roster.residents

    @property
    def every(self) -> list[Resident]:
        """Those, and the ones that have been replaced and are still busy."""
        return [*self.roster.residents, *self._retired]

    @property
    def loaded(self) -> list[Resident]:
        """Those that have a process or wait for one."""
        return [r for r in self.every if r.lifecycle.state is not State.STOPPED]

    @contextlib.asynccontextmanager
    async def use(self, model: ModelRef, backend: str, keep_alive: float | None, sink: Sink) -> AsyncIterator[Lease]:
        """Use a model; see Resident.lease. Its resident is looked up only now: it may have been replaced."""
        if model.remote is not None:
            model = await self._server_of(model.remote.remote, backend)
        resident = self.roster.resident(model, backend, self)
        if resident.process is None:  # now, and not when it is loaded: a fault there would be remembered for a while
            try:
                resident.lifecycle.default_keep_alive = self.settings(model).keep_alive
            except ConfigError as error:
                raise InvalidParams(f"{error}. Mend config.toml, and ask again") from None
        self._reloads.look_at(
            resident
        )  # a watch cannot see all: another machine's write, a folder above that was moved
        async with resident.lease(keep_alive, sink) as lease:
            yield lease

    async def _server_of(self, name: str, backend: str) -> ModelRef:
        """What stands for all models of a remote: one worker asks them all. Raises ApiError."""
        remote = RemoteModel(name)
        server = ModelRef(str(remote), "", remote=remote)
        if self.roster.resident(server, backend, self).process is None:
            await self._servers.make_ready(self.config, name)
        return server

    def named(self, name: str) -> list[Resident]:
        """Those that are loaded, or loading, under that name."""
        return [r for r in self.loaded if name in (r.model.name, *(model.name for model in self.roster.names(r)))]

    def holding(self, model: ModelRef) -> list[Resident]:
        """Those that have the model's file loaded, or are loading it, under any name; those that ask its remote."""
        if model.remote is not None:
            return [r for r in self.loaded if r.model.remote and r.model.remote.remote == model.remote.remote]
        real = model.real_path
        return [r for r in self.loaded if r.model.path and real in (*r.real_files[:1], r.model.real_path)]

    async def unload(self, residents: list[Resident]) -> None:
        """Returns when those that were idle are gone; a busy one goes after its last request."""
        for resident in residents:
            resident.unload()
        await asyncio.gather(*(r.gone.wait() for r in residents if r.lifecycle.state is State.STOPPING))

    def replace(self, old: Resident, successor: Resident, fingerprint: str) -> None:
        """See ReloadHost."""
        if self.roster.move(old, successor, fingerprint):
            self._retired.add(old)
            old.unload()

    async def close(self) -> None:
        """End every process, busy or not, and wait for that."""
        self._watch.close()
        self._reloads.close()
        self._spare.close()
        await asyncio.gather(*(resident.close() for resident in self.every))

    def status(self) -> list[ModelStatus]:
        return [r.status() for r in self.every if r.lifecycle.state is not State.STOPPED or r.lifecycle.error]

    def configure(self, config: Config) -> None:
        """New options hold from now on; those that a worker was started with, from its next load. One that asks a
        remote whose table has changed ends after its last request."""
        before, self.config = self.config, config
        for resident in self.current:
            name = resident.model.remote.remote if resident.model.remote else ""
            if name and before.remotes.get(name) != config.remotes.get(name):
                self.replace(resident, Resident(resident.model, resident.backend, self), "")
        for resident in self.every:
            with contextlib.suppress(ConfigError):  # then as it was; the next load says what is wrong
                resident.lifecycle.default_keep_alive = self.settings(resident.model).keep_alive

    def settings(self, model: ModelRef) -> ModelSettings:
        """The options in force for a model, under any of its names. Raises ConfigError."""
        return model_settings.settings(self.config, self.table_names(model))

    def encoder_named(self, model: ModelRef) -> str:
        """What config.toml says of its encoder of pictures; empty: nothing."""
        with contextlib.suppress(ConfigError):  # `use` raises it
            return self.settings(model).mmproj
        return ""

    def defaults(self, model: ModelRef) -> ModelDefaults:
        """What config.toml says of its answers. Raises ConfigError."""
        if not self.config.models:
            return model_defaults.NONE
        return model_defaults.defaults(self.config, self.table_names(model), elsewhere=model.remote is not None)

    def table_names(self, model: ModelRef) -> list[str]:
        """Those that its table may have, the most particular first."""
        aliases, file = self.config.aliases, os.path.basename(model.shown_path)
        names = [model.name, aliases.get(model.name, ""), model.shown_path, file, file.removesuffix(".gguf")]
        names += [alias for alias, target in aliases.items() if target in names]
        return [name for name in names if name]

    def companions(self, model: ModelRef, backend: str) -> Companions:
        """What config.toml says of that, where the model is not loaded already."""
        if backend == "llama" and not self.roster.runs(model, backend):
            with contextlib.suppress(ConfigError):  # `use` raises it
                own = self.settings(model)
                draft, template = own.draft_model if own.drafts != "off" else "", self.defaults(model).template
                return Companions(draft, own.mmproj, own.adapters, template or "")
        return Companions()

    # What a resident needs: see ResidentHost.

    def start_worker(self, resident: Resident, fit: Awaitable[object]) -> WorkerProcess:
        """A process that loads the resident's model once `fit` allows it, and reports to the resident."""
        process = WorkerProcess(resident.model.name, resident, self._spare.take(resident.backend))
        process.start(resident.backend, self._spec(resident), fit)
        return process

    def _spec(self, resident: Resident) -> ModelSpec:
        model = resident.model
        return specification(
            model,
            self.settings(model),
            self.config,
            memory_limit=self._limit(resident),
            cache_dir=self._cache_dir,
            remote=self._servers.get(model.remote.remote) if model.remote else None,
        )

    def changed(self) -> None:
        """A resident was loaded, has ended or has become idle."""
        for resident in self.loaded:
            if path := resident.model.path:
                own = resident.rss_bytes - resident.parked_bytes
                self._measured[path] = max(own, self._measured.get(path, 0))
                self._vram_measured[path] = _vram_of(resident) or self._vram_measured.get(path, 0)
            self._hear_of_vram(resident)
        self._retired = {r for r in self._retired if r.lifecycle.state is not State.STOPPED}
        self._movement.set()
        self._watch.files({file for r in self.loaded for file in self._files(r)})
        self._on_change()

    def _files(self, resident: Resident) -> list[str]:
        """All that leads to its model: what each of its names means, and the files that were loaded."""
        named = [*self.roster.names(resident), resident.model]
        return [*(path for model in named if model.path for path in (model.path, *model.files)), *resident.real_files]

    async def make_room(self, newcomer: Resident) -> None:
        """Returns when the newcomer fits, as far as can be told; unloads idle models, waits for busy ones.

        One newcomer at a time, so that two do not count on the same room.
        """
        if not newcomer.model.present:
            return
        self._check_limits(newcomer)
        async with self._one_newcomer:
            while True:
                self._movement.clear()
                others = {str(number): r for number, r in enumerate(self.loaded) if r is not newcomer and r.process}
                plan = eviction.plan(
                    [self._candidate(*other) for other in others.items()],
                    self._predict(newcomer.model),
                    self._available(),
                    self._vram_need(newcomer.model),
                )
                leaving = [others[key] for key in plan.unload]
                for resident in leaving:
                    log.info("unloading %s to make room for %s", resident.model.name, newcomer.model.name)
                    resident.unload()
                await asyncio.gather(*(r.gone.wait() for r in leaving if r.lifecycle.state is State.STOPPING))
                if not plan.wait:
                    return
                log.info("%s waits until a busy model can be unloaded", newcomer.model.name)
                for busy in others.values():
                    busy.press()
                await self._movement.wait()

    def fits(self, model: ModelRef) -> bool:
        """Whether there is memory for another worker of this model."""
        wanted = self._vram_need(model)
        return self._predict(model) <= self._available() and wanted.needed <= wanted.available

    def _check_limits(self, newcomer: Resident) -> None:
        """Raises ModelLoadFailed for a model that an option does not allow, even if it were the only one."""
        try:
            self.settings(newcomer.model)
        except ConfigError as error:
            raise ModelLoadFailed(str(error)) from None
        eviction.check_limits(newcomer.model.name, newcomer.model.size_bytes, newcomer.backend, self.config)

    def _limit(self, resident: Resident) -> int:
        """Bytes that a worker may take that is about to load; 0: no limit of ours."""
        limits = [self.config.memory_limit] if self.config.memory_limit else []
        if self.config.memory_total:
            others = sum(self._footprint(other) for other in self.loaded if other is not resident)
            limits.append(max(1, self.config.memory_total - others))
        return min(limits, default=0)

    def _predict(self, model: ModelRef) -> int:
        """Bytes that a load will take: what it took the last time, else an estimate by its files."""
        if measured := self._measured.get(model.path):
            return measured
        estimate, total = machine.bytes_for(model.size_bytes), self.config.memory_total
        # Under a limit the worker takes what is left, so room is made for all that it would take without one.
        return (
            min(total, max(estimate, model.size_bytes + eviction.BUFFERS + eviction.USUAL_CACHE)) if total else estimate
        )

    def _footprint(self, resident: Resident) -> int:
        """Bytes that it takes, or will take once it is loaded."""
        if resident.process and resident.lifecycle.state is State.STARTING and resident.model.present:
            return max(resident.rss_bytes, self._predict(resident.model))
        return resident.rss_bytes

    def _candidate(self, key: str, resident: Resident) -> eviction.EvictionCandidate:
        lifecycle = resident.lifecycle
        return eviction.EvictionCandidate(
            key, self._footprint(resident), lifecycle.idle, lifecycle.idle_since, _vram_of(resident)
        )

    def _hear_of_vram(self, resident: Resident) -> None:
        """Once for each load: what was free after it says nothing any more when others have been loaded since."""
        if resident.process and self._vram_heard.get(resident) is not resident.facts:
            self._vram_heard = {r: facts for r, facts in self._vram_heard.items() if r in self.loaded}
            self._vram_heard[resident] = resident.facts
            capacity = vram.capacity(resident.facts.facts, self._vram_held())
            self._vram_capacity = capacity or self._vram_capacity

    def _vram_held(self) -> int:
        return sum(map(_vram_of, self.loaded))

    def _vram_need(self, model: ModelRef) -> eviction.VramNeed:
        # Measured while only a part of its layers fitted, it would ask for no more than that part for ever.
        measured = self._vram_measured.get(model.path, 0)
        expected = max(measured, model.size_bytes) if measured else model.size_bytes + eviction.USUAL_CACHE
        gpu_layers = "auto"
        with contextlib.suppress(ConfigError):
            gpu_layers = self.settings(model).gpu_layers
        return vram.need(gpu_layers, expected, self._vram_capacity, self._vram_held())

    def _available(self) -> int:
        """Bytes for models: the machine's, within our own limit, minus what models that are loading will still take."""
        coming = sum(self._footprint(r) - r.rss_bytes for r in self.loaded)
        available = machine.available_memory()
        limits = [] if available is None else [available - eviction.RESERVE]
        if self.config.memory_total:
            limits.append(self.config.memory_total - sum(r.rss_bytes for r in self.loaded))
        return min(limits, default=1 << 62) - coming


def _vram_of(resident: Resident) -> int:
    """Bytes of the GPUs' memory that it has."""
    return vram.held(resident.facts.facts) if resident.process else 0
