"""A worker process as the daemon sees it: spawn, talk, watch it die. Decides nothing; see lifecycle.py."""

from __future__ import annotations

import asyncio
import collections
import errno
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from threadrunner.api.errors import BY_CODE, ApiError, ModelLoadFailed, RemoteError, WorkerCrashed
from threadrunner.backends.base import Failed, ModelFacts, ModelSpec, Piece, Progress
from threadrunner.daemon.workers.sink import Sink
from threadrunner.worker import messages as m

log = logging.getLogger("threadrunner.daemon.worker")

STOP_WITHIN = 15.0  # seconds from Stop to SIGKILL: the KV cache is written in between
HINTS = {
    "SIGKILL": "; the system may have been out of memory",
    "SIGBUS": "; its model file was probably truncated or overwritten while in use",
}
LAST_WORDS = 20  # lines of stderr kept to explain a crash


class ProcessOwner(Protocol):
    """What is told of the process's life."""

    def loading(self, done: int, total: int) -> None:
        """How far the load is, in a unit of the backend's."""

    def loaded(self, facts: ModelFacts) -> None:
        """Requests are answered from now on."""

    def load_failed(self, error: ApiError) -> None:
        """The process ends by itself after this."""

    def ended(self, crash: ApiError | None) -> None:
        """Called once, last, with the reason if the end was not asked for."""


class _Link(asyncio.Protocol):
    """The worker's messages, each to `handle` as it arrives. Not a StreamReader: that wakes a task for each token,
    which is a second turn of the event loop on a core that the worker computes on."""

    def __init__(self, handle: Callable[[m.FromWorker], None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the worker has hung up; raises what made its messages unreadable."""
        self._handle = handle
        self._unpacker = m.Unpacker()

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        try:
            for body in self._unpacker.feed(data):
                self._handle(m.from_worker.decode(body))
        except Exception as error:
            self.ended.set_exception(error)

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class _Pending:
    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()


class WorkerProcess:
    """One process. `start` it once, then any number of `request`s."""

    def __init__(self, name: str, owner: ProcessOwner) -> None:
        self.name = name
        self.pid: int | None = None
        self.gauges: dict[str, int | float] = {}
        self._owner = owner
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._last_words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._life: asyncio.Task[None] | None = None
        self._stopping = False
        self._reason: ApiError | None = None

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.name} pid {self.pid} {len(self._pending)} pending>"

    def start(self, backend: str, spec: ModelSpec, fit: Awaitable[object]) -> None:
        """Spawn and load, in the background; the owner is told of the result.

        `fit` is awaited while the process starts, before it is told to load; it raises ApiError to forbid that.
        """
        self._life = asyncio.create_task(self._live(m.load(backend, spec), fit), name=f"worker {self.name}")

    async def request(self, method: str, priority: str, params: msgspec.Struct, sink: Sink) -> bytes:
        """The JSON of the method's result. Raises ApiError; when it is cancelled, the worker forgets the request."""
        id = next(self._ids)
        pending = self._pending[id] = _Pending(sink)
        try:
            self._send(m.Submit(id, method, priority, msgspec.json.encode(params)))
            return await pending.answer
        except asyncio.CancelledError:
            self._send(m.Cancel(id))
            raise
        finally:
            self._pending.pop(id, None)

    def stop(self) -> None:
        """Ask it to end; kill it if it does not within STOP_WITHIN."""
        self._stopping = True
        self._send(m.Stop())
        asyncio.get_running_loop().call_later(STOP_WITHIN, self.kill)

    def discard(self, reason: ApiError) -> None:
        """End it at once; its requests end with `reason`."""
        self._stopping = True
        self._reason = reason
        self.kill()

    def kill(self) -> None:
        if self._process and self._process.returncode is None:
            self._process.kill()

    async def wait(self) -> None:
        """Until the process has ended and the owner knows."""
        if self._life:
            await asyncio.wait([self._life])

    def _send(self, message: m.ToWorker) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(m.pack(message))

    async def _live(self, load: m.Load, fit: Awaitable[object]) -> None:
        crash: ApiError | None = None
        try:
            link = await self._spawn()
            await self._load(load, fit)
            if self._stopping:  # asked while the process was being made
                self.kill() if self._reason else self._send(m.Stop())
            await asyncio.gather(link.ended, self._listen_to_stderr())
            assert self._process
            crash = self._verdict(await self._process.wait())
        except Exception as error:  # a defect here must not leave requests waiting
            crash = self._failure(error)
            self.kill()
        finally:
            if isinstance(fit, asyncio.Future):
                fit.cancel()  # not awaited if there was no process
            if self._transport:
                self._transport.close()
            self._end(crash)

    def _failure(self, error: Exception) -> ApiError:
        if self._process is None and isinstance(error, OSError):
            return no_process_error(self.name, error)
        log.error("worker %s", self.name, exc_info=error)
        return WorkerCrashed(f"the worker of {self.name} could not be run: {error}")

    async def _load(self, load: m.Load, fit: Awaitable[object]) -> None:
        try:
            await fit
        except ApiError as error:
            self._stopping = True
            self._owner.load_failed(error)
            self.kill()
        else:
            self._send(load)

    async def _spawn(self) -> _Link:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "threadrunner.worker", str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                )  # fmt: skip
            self.pid = self._process.pid
            self._transport, link = await asyncio.get_running_loop().create_unix_connection(
                lambda: _Link(self._handle), sock=ours
            )
        except BaseException:
            ours.close()
            raise
        return link

    async def _listen_to_stderr(self) -> None:
        assert self._process and self._process.stderr
        while True:
            try:
                line = (await self._process.stderr.readline()).decode("utf-8", "replace").rstrip()
            except ValueError:  # a line longer than the reader's limit: dropped, its end follows
                continue
            if not line and self._process.stderr.at_eof():
                return
            self._last_words.append(line)
            level, _, text = line.partition(" ")
            number = logging.getLevelNamesMapping().get(level)
            log.log(number or logging.WARNING, "[%s] %s", self.pid, text if number else line)

    def _handle(self, message: m.FromWorker) -> None:
        match message:
            case Piece(id, index, text, kind, call):
                if pending := self._pending.get(id):
                    pending.sink.piece(index, text, kind, call)
            case Progress(id, done, total):
                if pending := self._pending.get(id):
                    pending.sink.progress("prefill", done, total)
            case m.Done(id, result):
                if answer := self._open(id):
                    answer.set_result(result)
            case Failed(id, code, text, data):
                if answer := self._open(id):
                    answer.set_exception(_error(code, text, data))
            case m.Gauges(values):
                self.gauges = values
            case m.Loading() | m.Ready() | m.LoadFailed():
                self._handle_load(message)

    def _handle_load(self, message: m.Loading | m.Ready | m.LoadFailed) -> None:
        match message:
            case m.Loading(done, total):
                self._owner.loading(done, total)
            case m.Ready(facts):
                self._owner.loaded(facts)
            case m.LoadFailed(code, text, data):
                self._stopping = True  # it exits by itself now
                self._owner.load_failed(_error(code, text, data))

    def _open(self, id: int) -> asyncio.Future[bytes] | None:
        """Where the answer of a request goes that still waits for one."""
        pending = self._pending.get(id)
        return None if pending is None or pending.answer.done() else pending.answer

    def _verdict(self, code: int) -> ApiError | None:
        """What an exit code means; None if the end was asked for."""
        return None if self._stopping else crash_error(self.name, code, self._last_words)

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


def crash_error(name: str, code: int, last_words: Sequence[str]) -> WorkerCrashed:
    """The error for a process that ended by itself: by a signal (`code` below 0), or with an exit code.

    `last_words` are the last lines of its standard error.
    """
    if code < 0:
        sign = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = HINTS.get(sign, "")
        text = f"the worker of {name} was ended by {sign}{hint}. The next prompt loads the model again."
        return WorkerCrashed(text, signal=sign, exit_code=None)
    last = next((line for line in reversed(last_words) if line.strip()), "nothing on standard error")
    return WorkerCrashed(f"the worker of {name} ended with exit code {code}: {last}", signal=None, exit_code=code)


def no_process_error(name: str, error: OSError) -> ModelLoadFailed:
    """The error for a process that the system would not start. Nothing is wrong with the model: the next request tries
    again at once (`reason` is `resources`)."""
    why = error.strerror or str(error)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        why = "no file descriptor is left; end some clients or raise the limit (`ulimit -n`)"
    elif error.errno in (errno.EAGAIN, errno.ENOMEM):
        why = f"the system has no room for another process ({why}); end something that is not needed"
    return ModelLoadFailed(f"the worker of {name} could not be started: {why}, then ask again", reason="resources")


def _error(code: int, message: str, data: dict[str, object]) -> ApiError:
    facts = {k: v for k, v in data.items() if k != "kind"}
    return BY_CODE.get(code, RemoteError)(message, **facts)


def _environment() -> dict[str, str]:
    """The daemon's own, unbuffered, so that a crash loses no last words."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
