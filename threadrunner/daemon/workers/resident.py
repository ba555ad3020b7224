"""One model in memory, or on its way there: carries out what its lifecycle decides. Times are the event loop's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Hashable
from typing import Protocol

import msgspec

from threadrunner import machine
from threadrunner.api.errors import ApiError, InternalError, ModelLoadFailed, WorkerCrashed
from threadrunner.api.status import ModelStatus
from threadrunner.backends.base import ModelFacts
from threadrunner.daemon.gguf.adapter import check_adapter
from threadrunner.daemon.gguf.check import check_gguf
from threadrunner.daemon.gguf.mmproj import check_mmproj
from threadrunner.daemon.gguf.parts import file_fingerprint
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.workers import file_change
from threadrunner.daemon.workers.crash import quarantined_error
from threadrunner.daemon.workers.lifecycle import Effect, Grant, Lifecycle, Refuse, StartWorker, State, StopWorker
from threadrunner.daemon.workers.process import WorkerProcess
from threadrunner.daemon.workers.quarantine import Quarantine, identity
from threadrunner.daemon.workers.sink import Sink

log = logging.getLogger("threadrunner.daemon.resident")

SETTLE_WITHIN = 60.0
"""Seconds that a load waits for a file that is still being written."""


class ResidentHost(Protocol):
    """What a resident needs of the fleet."""

    @property
    def keep_alive(self) -> float:
        """Seconds that an idle model stays loaded if its last request does not say."""

    def start_worker(self, resident: Resident, fit: Awaitable[object]) -> WorkerProcess:
        """A process that loads the resident's model once `fit` allows it, and reports to the resident."""

    async def make_room(self, newcomer: Resident) -> None:
        """Returns once there is memory for it. Raises ApiError."""

    def announce(self, event: str, model: str, facts: dict[str, object]) -> None:
        """Tell the clients that have subscribed to events."""

    def changed(self) -> None:
        """A resident was loaded, has ended or has become idle."""


class Lease:
    """The right to use one model's worker until the `async with` that gave it ends."""

    def __init__(self, resident: Resident, process: WorkerProcess) -> None:
        self.resident = resident
        self._process = process

    async def request(self, method: str, priority: str, params: msgspec.Struct, sink: Sink) -> bytes:
        """The JSON of the method's result. Raises ApiError."""
        resident = self.resident
        resident.refuse_quarantined(method, params)
        answer = await self._process.request(method, priority, params, sink)
        resident.answered(method, params)
        return answer


class Resident:
    """See the module. It owns its WorkerProcess, which calls loading, loaded, load_failed and ended."""

    def __init__(self, model: ModelRef, backend: str, host: ResidentHost) -> None:
        self.model = model
        self.backend = backend
        self.lifecycle = Lifecycle(model.name, host.keep_alive)
        self.process: WorkerProcess | None = None
        self.facts = ModelFacts(context=0)
        self.fingerprint = ""
        """The file's, as it was when the load began."""
        self.real_files: list[str] = []
        """What the model's files were then, behind all links: an overwrite happens there, whatever the links do."""
        self.gone = asyncio.Event()
        """Set while there is no process and none is on its way."""
        self.gone.set()
        self._host = host
        self._quarantine = Quarantine()
        self._sinks: set[Sink] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Resident {self.lifecycle!r} {self.process!r}>"

    @property
    def overwritten(self) -> bool:
        """Whether a file that its process has mapped was written to."""
        now = "+".join(map(file_fingerprint, self.real_files))
        return file_change.judge(self.fingerprint, now) is file_change.Change.REWRITTEN

    @property
    def parked_bytes(self) -> int:
        """Of `rss_bytes`, what the state of finished requests takes: a worker begins with none."""
        return int(self.process.gauges.get("parked_bytes", 0)) if self.process else 0

    @property
    def rss_bytes(self) -> int:
        """Memory of its process; 0 without one."""
        return machine.resident_bytes(self.process.pid) if self.process and self.process.pid else 0

    @contextlib.asynccontextmanager
    async def lease(self, keep_alive: float | None, sink: Sink) -> AsyncIterator[Lease]:
        """Use the model, loading it first if needed; the sink gets the load's progress. Raises ApiError."""
        await self._acquire(keep_alive, sink)
        try:
            if self.process is None:  # it died between the grant and now
                raise self.lifecycle.error or WorkerCrashed(f"the worker of {self.model.name} has gone")
            yield Lease(self, self.process)
        finally:
            self._apply(self.lifecycle.release(_now()))
            if self.lifecycle.idle:
                self._host.changed()

    async def _acquire(self, keep_alive: float | None, sink: Sink) -> None:
        if self.lifecycle.error and self.fingerprint != self.model.fingerprint:
            self.lifecycle.forgive()
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sinks.add(sink)
        try:
            self._apply(self.lifecycle.acquire(ticket, _now(), keep_alive))
            await ticket
        except asyncio.CancelledError:
            granted = ticket.done() and not ticket.cancelled() and not ticket.exception()
            if granted:  # and cancelled before we woke
                self._apply(self.lifecycle.release(_now()))
            else:
                self.lifecycle.abandon(ticket, _now())
                self._set_timer()
            raise
        finally:
            self._sinks.discard(sink)

    def refuse_quarantined(self, method: str, params: msgspec.Struct) -> None:
        """Raises WorkerCrashed for a request under which workers have hung, until it may be tried again."""
        if self._quarantine and (wait := self._quarantine.wait(request := identity(method, params), _now())):
            raise quarantined_error(self.model.name, self._quarantine.times(request), wait)

    def answered(self, method: str, params: msgspec.Struct) -> None:
        """A request has its answer."""
        self.lifecycle.answered()
        if self._quarantine:
            self._quarantine.pardon(identity(method, params))

    def unload(self) -> None:
        """Unload it as soon as it is idle, or at once where it hangs."""
        self._apply(self.lifecycle.unload(_now()))
        self.press()

    def press(self) -> None:
        """Its memory is needed as soon as its requests are done: end it if it hangs."""
        if self.process and self.lifecycle.state is State.READY:
            self.process.press()

    def discard(self, reason: ApiError) -> None:
        """End its process now: what runs ends with `reason`, requests that wait get the next worker."""
        if self.process:
            self.process.discard(reason)
            self.lifecycle.discard()
            self._set_timer()

    async def close(self) -> None:
        """End the process, busy or not."""
        if self._starting:
            self._starting.cancel()
        if process := self.process:
            process.stop()
            await process.wait()

    def _apply(self, effects: list[Effect]) -> None:
        """Do what the lifecycle has decided, then set a timer for when it must decide again."""
        for effect in effects:
            match effect:
                case Grant(ticket):
                    if isinstance(ticket, asyncio.Future) and not ticket.done():
                        ticket.set_result(None)
                    else:
                        self._apply(self.lifecycle.release(_now()))
                case Refuse(ticket, error):
                    if isinstance(ticket, asyncio.Future) and not ticket.done():
                        ticket.set_exception(error)
                case StartWorker():
                    self.gone.clear()
                    self._starting = asyncio.create_task(self._start(), name=f"start {self.model.name}")
                case StopWorker():
                    self._stop()
        self._set_timer()

    def _stop(self) -> None:
        if self.process:
            self.process.stop()
        elif self._starting:  # it waits for its file, or for memory
            self._starting.cancel()
            self.ended(None)

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        expires = self.lifecycle.expires_at
        if expires is not None:
            self._timer = asyncio.get_running_loop().call_at(expires, lambda: self._apply(self.lifecycle.tick(_now())))

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(SETTLE_WITHIN):
                await _settled(self.model)
            self.real_files = [os.path.realpath(file) for file in self.model.files if self.model.path]
            self.fingerprint = self.model.fingerprint
            await self._host.make_room(self)
        except TimeoutError:
            self._fail(
                ModelLoadFailed(f"{self.model.shown_path} is still being written; try again when it is complete")
            )
        except ApiError as error:
            self._fail(error)
        except Exception as error:  # a defect here must not leave requests waiting
            log.exception("starting %s", self.model.name)
            self._fail(InternalError(f"a defect in the daemon: {error!r}; its log has more"))
        else:
            self._host.announce("model.loading", self.model.name, {})
            fit = asyncio.create_task(self._fit())
            self.process = self._host.start_worker(self, fit)

    async def _fit(self) -> None:
        """Native code sees only files whose header has passed the check. Raises ModelLoadFailed."""
        if self.backend == "llama":
            for file in filter(None, (self.model.files[0], self.model.draft)):
                await asyncio.to_thread(check_gguf, file)
            if self.model.mmproj:
                await asyncio.to_thread(check_mmproj, self.model.mmproj)
            for adapter in self.model.adapters:
                await asyncio.to_thread(check_adapter, adapter.path, self.model.files[0])

    def _fail(self, error: ApiError) -> None:
        """The load ended before there was a process."""
        self.load_failed(error)
        self.ended(None)

    # What the process reports: see ProcessOwner.

    def loading(self, done: int, total: int) -> None:
        for sink in self._sinks:
            sink.progress("load", done, total)

    def loaded(self, facts: ModelFacts) -> None:
        self.facts = facts
        self._host.announce("model.loaded", self.model.name, {"context": facts.context})
        self._apply(self.lifecycle.loaded(_now()))
        self._host.changed()

    def load_failed(self, error: ApiError) -> None:
        log.error("%s: %s", self.model.name, error.message)
        self._host.announce("model.failed", self.model.name, {**error.data, "message": error.message})
        self._apply(self.lifecycle.load_failed(error, _now()))

    def doomed(self, suspects: list[Hashable]) -> None:
        log.warning("%s hangs, and its worker is ended", self.model.name)
        self._quarantine.hung(suspects, _now())
        self.lifecycle.discard()
        self._set_timer()

    def ended(self, crash: ApiError | None) -> None:
        had_process, self.process = self.process is not None, None
        if crash:
            self._host.announce("model.failed", self.model.name, {**crash.data, "message": crash.message})
        elif had_process:
            self._host.announce("model.unloaded", self.model.name, {})
        self.gone.set()
        self._apply(self.lifecycle.exited(crash, _now()))
        self._host.changed()

    def status(self) -> ModelStatus:
        lifecycle, gauges = self.lifecycle, self.process.gauges if self.process else {}
        stopped = lifecycle.state is State.STOPPED
        expires = lifecycle.expires_at
        return ModelStatus(
            name=self.model.name,
            path=self.model.shown_path,
            backend=self.backend,
            state="failed" if stopped else lifecycle.state.value,  # type: ignore[arg-type]  # State's own values
            pid=self.process.pid if self.process else None,
            rss_bytes=self.rss_bytes,
            context=self.facts.context,
            active=lifecycle.active,
            queued=int(gauges.get("queued", 0)) + len(lifecycle.waiting),
            cached_tokens=int(gauges.get("cached_tokens", 0)),
            idle_s=round(_now() - lifecycle.idle_since, 1) if lifecycle.idle and not stopped else 0.0,
            expires_s=None if expires is None else round(expires - _now(), 1),
            error=lifecycle.error.message if lifecycle.error else None,
            facts={**self.facts.facts, **gauges},
        )


async def _settled(model: ModelRef) -> None:
    """Returns once no file of it has been written to for a moment. A time stamp has no event, so this looks again when
    the moment would be over; files that were not touched lately cost one stat each."""
    while model.path:
        try:
            written = [os.stat(file).st_mtime for file in model.files]
        except OSError:
            return
        wait = max(file_change.settles_in(mtime, time.time()) for mtime in written)
        if not wait:
            return
        await asyncio.sleep(wait)


def _now() -> float:
    return asyncio.get_running_loop().time()
