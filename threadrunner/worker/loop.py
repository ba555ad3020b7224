"""The worker process: one model, one thread that computes, one thread that listens.

The computing thread alone touches the backend. The listening thread only queues what arrives and tells an
interruptible backend of it at once, because the computing thread may be seconds deep in a C call.

Rule: the worker never outlives the daemon. The kernel kills it with its parent where it can (Linux), the end of
the socket ends it everywhere.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import queue
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, cast

import msgspec

from threadrunner import config
from threadrunner.api.errors import ApiError, InvalidParams
from threadrunner.api.generation import GenerateParams
from threadrunner.api.methods import METHODS
from threadrunner.backends.base import (
    Backend,
    CandidateDone,
    Event,
    Failed,
    Finished,
    Interruptible,
    ModelSpec,
    Observable,
    Params,
    Piece,
    Tidy,
)
from threadrunner.system import children
from threadrunner.worker import confine
from threadrunner.worker.found import BUILT_IN, find_backend
from threadrunner.worker.messages import (
    Cancel,
    Candidate,
    FromWorker,
    Gauges,
    Hurry,
    LetGo,
    Load,
    LoadFailed,
    Loading,
    Ready,
    Stop,
    Submit,
    ToWorker,
    Unpacker,
    pack,
    spec_of,
    to_worker,
)
from threadrunner.worker.refusal import outcome, refusal
from threadrunner.worker.vitals import Doing, VitalsPage

if TYPE_CHECKING:
    from threadrunner.worker.polls import Polls

log = logging.getLogger("threadrunner.worker")

LOADING_EVERY = 0.02  # seconds between two reports of a load
GAUGES_EVERY = 0.25  # seconds between two reports while busy: `status` may be that old
CLOSE_WITHIN = 5.0  # seconds for a running step to end once the daemon has gone


class DaemonGone(Exception):
    """The socket's other end is closed."""


class Link:
    """The socket to the daemon. `send` belongs to the computing thread, `receive` to the listening one."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._unpacker = Unpacker()

    def send(self, *messages: FromWorker) -> None:
        """Raises DaemonGone."""
        try:
            self._sock.sendall(b"".join(map(pack, messages)))
        except OSError as error:
            raise DaemonGone from error

    def receive(self) -> list[ToWorker]:
        """What has arrived, waiting for something. Raises DaemonGone."""
        try:
            data = self._sock.recv(1 << 16)
        except OSError as error:
            raise DaemonGone from error
        if not data:
            raise DaemonGone
        return [to_worker.decode(body) for body in self._unpacker.feed(data)]


class Listener(threading.Thread):
    """Queues what arrives for the computing thread; None in the queue means that the daemon has gone.

    An interruptible backend is told first: announced after the computing thread had taken it, a request would stop the
    batch of its own prompt.
    """

    def __init__(self, link: Link) -> None:
        super().__init__(name="listener", daemon=True)
        self.inbox: queue.SimpleQueue[ToWorker | None] = queue.SimpleQueue()
        self.interruptible: Interruptible | None = None
        self._link = link

    def run(self) -> None:
        try:
            while True:
                for message in self._link.receive():
                    self._interrupt(message)
                    if not isinstance(message, Hurry):
                        self.inbox.put(message)
        except DaemonGone:
            if self.interruptible:
                self.interruptible.interrupt_cancel(None)
            self.inbox.put(None)
            time.sleep(CLOSE_WITHIN)  # a deadline, not a wait: a finished worker has long taken this thread with it
            os._exit(1)

    def _interrupt(self, message: ToWorker) -> None:
        if self.interruptible is None:
            return
        match message:
            case Submit():
                self.interruptible.interrupt_submit(message.priority)
            case Cancel():
                self.interruptible.interrupt_cancel(message.id)
            case Stop() | Hurry():
                self.interruptible.interrupt_cancel(None)


class Loop:
    """The computing thread: takes requests from the inbox and steps the backend while any is open."""

    def __init__(self, link: Link, listener: Listener, backend: Backend, vitals: VitalsPage) -> None:
        self._link = link
        self._listener = listener
        self._backend = backend
        self._vitals = vitals
        self._observable = backend if isinstance(backend, Observable) else None  # a protocol's isinstance is slow
        self._tidy = backend if isinstance(backend, Tidy) else None
        self._open: set[int] = set()
        self._polls: Polls | None = None
        self._gauged = 0.0

    def load(self, spec: ModelSpec) -> None:
        """Raises ApiError when the model cannot be loaded."""
        told = 0.0

        def report(done: int, total: int) -> None:
            nonlocal told
            now = time.monotonic()
            if now - told >= LOADING_EVERY or done == total:  # llama.cpp reports each of hundreds of tensors
                told = now
                self._link.send(Loading(done, total))

        facts = self._backend.load(spec, report)
        if isinstance(self._backend, Interruptible):
            self._listener.interruptible = self._backend
        self._link.send(Ready(facts))

    def run(self) -> None:
        """Until Stop. Raises DaemonGone, and whatever a broken backend raises."""
        while self._take_messages():
            if not self._open:
                continue
            self._vitals.now(Doing.STEP)
            began = time.monotonic()
            events = self._backend.step()
            self._vitals.stepped(began)
            counted = self._polls.counted(events) if self._polls else events
            messages = [event if type(event) is Piece else self._outgoing(event) for event in counted]
            messages[:0] = self._gauges()  # first: who has an answer and asks how the worker is, is told of it
            if messages:
                self._link.send(*messages)  # in one write: each wakes the daemon, and takes as long as a step of ours

    def _take_messages(self) -> bool:
        """Handle what is there; wait for a message when nothing is open. False once the worker must end."""
        inbox = self._listener.inbox
        while True:
            if self._open and inbox.empty():  # not get(block=False): an exception for each token
                return True
            message = inbox.get() if self._open else self._awaited()
            match message:
                case Submit():
                    self._submit(message)
                case Cancel():
                    self._cancel(message.id)
                case Stop():
                    return False
                case None:
                    raise DaemonGone

    def _cancel(self, id: int) -> None:
        self._vitals.now(Doing.CANCEL, id)
        self._open.discard(id)
        if self._polls:
            self._polls.forget(id)
        self._backend.cancel(id)
        self._gauged = 0.0
        self._link.send(*self._gauges(), LetGo(id))
        self._gauged = 0.0

    def _awaited(self) -> ToWorker | None:
        """The next message, where none of the requests is open: until one arrives, the backend tidies up."""
        inbox = self._listener.inbox
        for gauges in self._gauges():  # a cancel has no step behind it: `status` said for good that others were queued
            self._link.send(gauges)
        self._vitals.now(Doing.WAITING)
        while inbox.empty() and self._tidy is not None and self._tidy.tidy():
            pass
        return inbox.get()

    def _submit(self, message: Submit) -> None:
        self._vitals.now(Doing.SUBMIT, message.id)
        try:
            params = _params(message)
            self._backend.submit(message.id, params)
        except Exception as error:
            if not isinstance(error, ApiError):
                self._backend.cancel(message.id)
            self._link.send(refusal(message.id, error))
        else:
            self._open.add(message.id)
            if isinstance(params, GenerateParams) and params.vote is not None:
                self._count(message.id, params)

    def _count(self, id: int, params: GenerateParams) -> None:
        from threadrunner.worker.polls import Polls  # few requests have a vote, and every cold start would wait

        if self._polls is None:
            self._polls = Polls(self._backend)
        self._polls.begin(id, params)

    def _outgoing(self, event: Event | Candidate) -> FromWorker:
        if isinstance(event, Finished):
            self._end(event.id)
            return outcome(event)
        if isinstance(event, Failed):
            self._end(event.id)
        assert not isinstance(event, CandidateDone), "of a request with a vote, which is counted"
        return event

    def _end(self, id: int) -> None:
        self._open.discard(id)
        self._gauged = 0.0  # the gauges have changed: they are due

    def _gauges(self) -> list[FromWorker]:
        if self._observable is None or (now := time.monotonic()) - self._gauged <= GAUGES_EVERY:
            return []
        self._gauged = now
        return [Gauges(self._observable.gauges())]


def _params(message: Submit) -> Params:
    """Raises InvalidParams."""
    try:
        return cast(Params, msgspec.json.decode(message.params, type=METHODS[message.method].params))
    except (msgspec.ValidationError, KeyError) as error:
        raise InvalidParams(str(error)) from None


def main(argv: list[str]) -> int:
    """`argv` is -c FD VITALS_FD [BACKEND]."""
    return run(int(argv[1]), int(argv[2]), *argv[3:4])


def run(fd: int, vitals_fd: int, expected: str = "") -> int:
    """The worker's whole life; `fd` is its socket, `vitals_fd` its page (vitals.py), `expected` the backend that it
    will probably be told to use. Returns the exit code."""
    confine.at_start()
    _log_to_stderr()
    link = Link(socket.socket(fileno=fd))
    listener = Listener(link)
    listener.start()
    if expected in BUILT_IN:
        with contextlib.suppress(Exception):  # it is raised again when the backend is made
            importlib.import_module(BUILT_IN[expected].partition(":")[0])
    try:
        first = listener.inbox.get()
        if not isinstance(first, Load):
            return 1
        return _serve(link, listener, first, VitalsPage(children.handed_file(vitals_fd)))
    except DaemonGone:
        log.info("the daemon has gone")
        return 0


def _serve(link: Link, listener: Listener, first: Load, vitals: VitalsPage) -> int:
    try:
        backend = find_backend(first.backend)
        if first.backend == "remote":
            confine.before_asking()
        elif first.backend in BUILT_IN:  # an installed one may need the network
            confine.before_load(first.spec.cache_bytes)
        loop = Loop(link, listener, backend, vitals)
        loop.load(spec_of(first))
        gc.freeze()  # the model's tables and all modules are not garbage: a look at them all takes 20 ms of a token
    except ApiError as error:
        link.send(LoadFailed(error.code, error.message, error.data))
        return 0
    try:
        loop.run()
    finally:
        # Not only after Stop: where the kernel does not kill us with the daemon, the cache is still worth keeping.
        vitals.now(Doing.CLOSE)
        backend.close()
    return 0


def _log_to_stderr() -> None:
    """The daemon reads stderr and writes it to its own log, so each line begins with the level."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    for name, level in config.log_levels(os.environ.get("THREADRUNNER_LOG", "warning")).items():
        logging.getLogger(name).setLevel(level)
