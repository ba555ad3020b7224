"""A worker process as the daemon sees it: spawn, talk, watch it die. Decides nothing; see lifecycle.py and hang.py."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Hashable
from typing import Any, Protocol

import msgspec

from threadrunner import processes
from threadrunner.api.chat import PieceKind
from threadrunner.api.errors import ApiError, InternalError, WorkerCrashed, from_wire
from threadrunner.api.generation import Generated
from threadrunner.backends.base import Failed, ModelFacts, ModelSpec, Piece, Progress
from threadrunner.daemon.workers.crash import crash_error, hang_error, no_process_error, unkillable_error
from threadrunner.daemon.workers.guard import Guard
from threadrunner.daemon.workers.launch import Launched, launch
from threadrunner.daemon.workers.pipes import Hands, take_hold
from threadrunner.daemon.workers.quarantine import identity
from threadrunner.daemon.workers.sink import EncodedPiece, Sink, encoded
from threadrunner.worker import messages as m
from threadrunner.worker.vitals import Doing, Vitals

log = logging.getLogger("threadrunner.daemon.worker")

KILL_WITHIN = 5.0
"""Seconds from SIGKILL until a process counts as one that cannot be ended: it waits in the kernel."""
REST_WITHIN = 1.0
"""Seconds that we listen to what a process has left in its pipes; a child of its own may keep their other ends open."""


class ProcessOwner(Protocol):
    """What is told of the process's life."""

    def loading(self, done: int, total: int) -> None:
        """How far the load is, in a unit of the backend's."""

    def loaded(self, facts: ModelFacts) -> None:
        """Requests are answered from now on."""

    def load_failed(self, error: ApiError) -> None:
        """The process ends by itself after this."""

    def doomed(self, suspects: list[Hashable]) -> None:
        """It hangs and is being killed, perhaps because of these requests: no new one should be given to it."""

    def ended(self, crash: ApiError | None) -> None:
        """Called once, last, with the reason if the end was not asked for."""


class _Pending:
    def __init__(self, method: str, params: msgspec.Struct, size: int, sink: Sink) -> None:
        self.method = method
        self.params = params
        self.size = size
        self.sink = sink
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()


class WorkerProcess:
    """One process. `start` it once, then any number of `request`s."""

    def __init__(self, name: str, owner: ProcessOwner, launched: Launched | None = None) -> None:
        """`launched` is a process that is there already; it is made otherwise."""
        self.name = name
        self._launched = launched
        self.pid: int | None = None
        self.gauges: dict[str, int | float] = {}
        self._owner = owner
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._cancelled: dict[int, _Pending] = {}  # and not yet let go
        self._unflushed: set[Sink] = set()
        self._guard: Guard | None = None
        self._hands: Hands | None = None
        self._life: asyncio.Task[None] | None = None
        self._unkillable = asyncio.Event()
        self._began = 0.0
        self._ready = False
        self._stopping = False
        self._killed = False
        self._reason: ApiError | None = None
        self._hang: ApiError | None = None

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.name} pid {self.pid} {len(self._pending)} pending>"

    @property
    def busy(self) -> bool:
        """See Guarded."""
        return bool(self._pending)

    def start(self, backend: str, spec: ModelSpec, fit: Awaitable[object]) -> None:
        """Spawn and load, in the background; the owner is told of the result.

        `fit` is awaited while the process starts, before it is told to load; it raises ApiError to forbid that.
        """
        self._life = asyncio.create_task(self._live(m.load(backend, spec), fit), name=f"worker {self.name}")

    async def request(self, method: str, priority: str, params: msgspec.Struct, sink: Sink) -> bytes:
        """The JSON of the method's result. Raises ApiError; when it is cancelled, the worker forgets the request."""
        id = next(self._ids)
        body = msgspec.json.encode(params)
        pending = self._pending[id] = _Pending(method, params, len(body), sink)
        try:
            self._send(m.Submit(id, method, priority, body))
            return await pending.answer
        except asyncio.CancelledError:
            self._cancelled[id] = pending
            self._guarding.cancelled(id)
            self._send(m.Cancel(id))
            raise
        finally:
            self._pending.pop(id, None)

    def press(self) -> None:
        """It should end, or make way, when its requests are done: end it if it shows no sign of life meanwhile."""
        self._guarding.press()

    def stop(self) -> None:
        """Ask it to end; kill it if it does not within hang.STOP_WITHIN. A load is ended at once: nothing is lost."""
        self._stopping = True
        if not self._ready:
            self.kill()
            return
        self._send(m.Stop())
        self._guarding.stopping()

    def discard(self, reason: ApiError) -> None:
        """End it at once; its requests end with `reason`."""
        self._stopping = True
        self._reason = reason
        self.kill()

    def kill(self) -> None:
        self._killed = True
        if self._hands and not self._hands.child.exited.done():
            self._hands.child.kill()
            asyncio.get_running_loop().call_later(KILL_WITHIN, self._unkillable.set)

    async def wait(self) -> None:
        """Until the process has ended and the owner knows."""
        if self._life:
            await asyncio.wait([self._life])

    # What its guard needs: see Guarded.

    def request_bytes(self, id: int) -> int:
        """See Guarded."""
        known = self._pending.get(id) or self._cancelled.get(id)
        return known.size if known else 0

    def hurry(self) -> None:
        """See Guarded."""
        self._send(m.Hurry())

    def hung(self, seconds: float, seen: Vitals) -> None:
        """See Guarded."""
        if self._stopping:
            log.warning("worker %s (pid %s) did not end in time and is killed", self.name, self.pid)
        else:
            suspended = processes.is_suspended(self.pid or 0)
            self._hang = hang_error(self.name, seconds, seen, suspended=suspended)
            self._owner.doomed([] if suspended else self._suspects(seen))
        self.kill()

    def _suspects(self, seen: Vitals) -> list[Hashable]:
        """The request that it was taking in or forgetting, or else all those that it was working for."""
        known = {**self._pending, **self._cancelled}
        if seen.request:
            known = {id: pending for id, pending in known.items() if id == seen.request}
        elif seen.doing is not Doing.STEP:
            known = {}
        return [identity(pending.method, pending.params) for pending in known.values()]

    # Its life

    @property
    def _guarding(self) -> Guard:
        assert self._guard, "there is a process by now"
        return self._guard

    def _send(self, message: m.ToWorker) -> None:
        if self._hands and not self._hands.transport.is_closing():
            self._hands.transport.write(m.pack(message))

    async def _live(self, load: m.Load, fit: Awaitable[object]) -> None:
        crash: ApiError | None = None
        fitting = asyncio.ensure_future(fit)
        try:
            launched = self._launched or launch(load.backend)
            self._guard = Guard(self, launched.vitals)
            hands = self._hands = await take_hold(launched, self)
            self.pid = launched.pid
            fitting.add_done_callback(lambda _: self._fitted(fitting, load))
            if self._stopping:  # asked while the process was being made
                self.kill()
            code = await self._exit_code(hands)
            await asyncio.wait([hands.link.ended, hands.words.ended], timeout=REST_WITHIN)
            crash = self._verdict(code)
        except Exception as error:  # a defect here must not leave requests waiting
            crash = self._failure(error)
            self.kill()
        finally:
            fitting.cancel()
            if self._hands:
                self._hands.close()
            if self._guard:
                self._guard.close()
            self._end(crash)

    def _failure(self, error: Exception) -> ApiError:
        if self._hands is None and isinstance(error, OSError):
            return no_process_error(self.name, error)
        log.error("worker %s", self.name, exc_info=error)
        return WorkerCrashed(f"the worker of {self.name} could not be run: {error}")

    def _fitted(self, fitting: asyncio.Future[object], load: m.Load) -> None:
        """The model may be loaded, or not."""
        if fitting.cancelled() or self._killed:
            return
        self._began = asyncio.get_running_loop().time()
        error = fitting.exception()
        if error is None:
            self._send(load)
            return
        self._stopping = True
        if not isinstance(error, ApiError):
            log.error("worker %s", self.name, exc_info=error)
            error = InternalError(f"a defect in the daemon: {error!r}; its log has more")
        self._owner.load_failed(error)
        self.kill()

    async def _exit_code(self, hands: Hands) -> int | None:
        """None for a process that SIGKILL does not end. Raises what made its messages unreadable."""
        ended: asyncio.Future[Any] = hands.child.exited
        given_up: asyncio.Future[Any] = asyncio.ensure_future(self._unkillable.wait())
        await asyncio.wait([ended, given_up, hands.link.ended], return_when=asyncio.FIRST_COMPLETED)
        if hands.link.ended.done():
            hands.link.ended.result()
            self._guarding.stopping()  # it has hung up: nothing more comes of it
            await asyncio.wait([ended, given_up], return_when=asyncio.FIRST_COMPLETED)
        given_up.cancel()
        return ended.result() if ended.done() else None

    # What its messages need: see pipes.Receiver.

    def piece(self, id: int, index: int, json: bytes, kind: PieceKind) -> None:
        """See Receiver."""
        if pending := self._pending.get(id):
            pending.sink.piece(EncodedPiece(index, json, kind))
            self._unflushed.add(pending.sink)

    def flush(self) -> None:
        """See Receiver."""
        for sink in self._unflushed:
            sink.flush()
        self._unflushed.clear()

    def message(self, message: m.FromWorker) -> None:
        """See Receiver."""
        match message:
            case Piece(id) | Progress(id) | m.Candidate(id):
                if pending := self._pending.get(id):
                    self._tell(pending.sink, message)
            case m.Done(id, result):
                if answer := self._open(id):
                    answer.set_result(result)
            case Failed(id, code, text, data):
                if answer := self._open(id):
                    answer.set_exception(from_wire({"code": code, "message": text, "data": data}))
            case m.LetGo(id):
                self._cancelled.pop(id, None)
                self._guarding.let_go(id)
            case m.Gauges(values):
                self.gauges = values
            case m.Loading() | m.Ready() | m.LoadFailed():
                self._handle_load(message)

    def _tell(self, sink: Sink, message: Piece | Progress | m.Candidate) -> None:
        match message:
            case Piece(_, index, text, kind, call):
                sink.piece(encoded(index, text, kind, call))
                self._unflushed.add(sink)
            case Progress(_, done, total):
                sink.progress("prefill", done, total)
            case m.Candidate(_, result):
                sink.candidate(msgspec.json.decode(result, type=Generated))

    def _handle_load(self, message: m.Loading | m.Ready | m.LoadFailed) -> None:
        match message:
            case m.Loading(done, total):
                self._owner.loading(done, total)
            case m.Ready(facts):
                self._ready = True
                self._guarding.loaded(asyncio.get_running_loop().time() - self._began)
                self._owner.loaded(facts)
            case m.LoadFailed(code, text, data):
                self._stopping = True  # it exits by itself now
                self._guarding.stopping()
                self._owner.load_failed(from_wire({"code": code, "message": text, "data": data}))

    def _open(self, id: int) -> asyncio.Future[bytes] | None:
        """Where the answer of a request goes that still waits for one."""
        pending = self._pending.get(id)
        return None if pending is None or pending.answer.done() else pending.answer

    def _verdict(self, code: int | None) -> ApiError | None:
        """What an exit code means; None if the end was asked for."""
        if code is None:
            return unkillable_error(self.name, self.pid)
        if self._hang:
            return self._hang
        return None if self._stopping else crash_error(self.name, code, self._hands.words.lines if self._hands else [])

    def _end(self, crash: ApiError | None) -> None:
        failure = (
            self._reason or crash or WorkerCrashed(f"the worker of {self.name} was stopped", signal=None, exit_code=0)
        )
        for pending in self._pending.values():
            if not pending.answer.done():
                pending.answer.set_exception(failure)
        if crash:
            log.error("%s", crash.message)
        self._owner.ended(crash)
