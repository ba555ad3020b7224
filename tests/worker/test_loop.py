"""The computing thread with a backend of our own and a socket instead of a daemon."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from tests.worker.test_messages import decoded
from threadrunner.api.generation import Generated, GenerateParams, Timings, Tokenized, Usage
from threadrunner.backends.base import Event, Failed, Finished, ModelFacts, NotSupported, Params, Piece, Progress
from threadrunner.worker.loop import DaemonGone, Link, Listener, Loop
from threadrunner.worker.messages import (
    Cancel,
    Done,
    FromWorker,
    Hurry,
    LetGo,
    Stop,
    Submit,
    ToWorker,
    Unpacker,
)
from threadrunner.worker.vitals import Doing, VitalsPage, create

ANSWER = Generated("a b", "stop", "m", Usage(), Timings())


@dataclass
class Scripted:
    """Tells what it is given to tell, a list for each step."""

    steps: list[list[Event]]
    submitted: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)

    def load(self, spec: Any, report: Any) -> ModelFacts:
        return ModelFacts(context=1)

    def submit(self, id: int, params: Params) -> None:
        if not isinstance(params, GenerateParams):
            raise NotSupported("no")
        self.submitted.append(id)

    def step(self) -> list[Event]:
        return self.steps.pop(0)

    def cancel(self, id: int) -> None:
        self.cancelled.append(id)

    def close(self) -> None:
        pass


class Daemon:
    """The other end of the worker's socket."""

    def __init__(self, page: int) -> None:
        self.socket, self._theirs = socket.socketpair()
        self.vitals = VitalsPage(page)
        self.link = Link(self._theirs)
        self.listener = Listener(self.link)  # not started: a test puts into its inbox what would arrive

    def run(self, backend: Scripted, *messages: ToWorker | None) -> list[FromWorker]:
        """What the worker sends until it stops."""
        for message in messages:
            self.listener.inbox.put(message)
        Loop(self.link, self.listener, backend, self.vitals).run()
        self._theirs.shutdown(socket.SHUT_WR)
        return [decoded(body) for body in Unpacker().feed(self.socket.recv(1 << 20))]

    def run_through(self, backend: Scripted, *ids: int) -> list[FromWorker]:
        """The backend's whole script for these requests; it is stopped after it."""

        class Ending(Scripted):
            def step(inner) -> list[Event]:
                events = super().step()
                if not inner.steps:
                    self.listener.inbox.put(Stop())
                return events

        return self.run(Ending(backend.steps), *map(generate, ids))

    def close(self) -> None:
        self.socket.close()
        self._theirs.close()
        self.vitals.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    page = create()
    made = Daemon(page)
    yield made
    made.close()
    os.close(page)


def generate(id: int) -> Submit:
    return Submit(id, "generate", "normal", b'{"prompt": "a"}')


def test_events_go_out_as_they_are_and_a_result_as_json(daemon: Daemon) -> None:
    backend = Scripted([[Progress(1, 2, 3)], [Piece(1, 0, "a")], [Piece(1, 0, " b"), Finished(1, ANSWER)]])
    *events, done = daemon.run_through(backend, 1)
    assert events == [Progress(1, 2, 3), Piece(1, 0, "a"), Piece(1, 0, " b")]
    assert isinstance(done, Done)
    assert msgspec.json.decode(done.result, type=Generated) == ANSWER


def test_a_failed_request_is_open_no_more(daemon: Daemon) -> None:
    failed = Failed(1, -32603, "no", {"kind": "InternalError"})
    assert daemon.run_through(Scripted([[failed]]), 1) == [failed]


def test_a_refused_request_ends_with_the_refusal(daemon: Daemon) -> None:
    backend = Scripted([])
    answers = daemon.run(
        backend,
        Submit(1, "tokenize", "normal", b'{"text": "a"}'),
        Submit(2, "generate", "normal", b'{"prompt": 3}'),
        Submit(3, "dance", "normal", b"{}"),
        Stop(),
    )
    assert [(type(a), a.id, a.data["kind"]) for a in answers if isinstance(a, Failed)] == [
        (Failed, 1, "NotSupported"),
        (Failed, 2, "InvalidParams"),
        (Failed, 3, "InvalidParams"),
    ]
    assert not backend.submitted


def test_a_request_that_breaks_the_backend_ends_alone(daemon: Daemon) -> None:
    class Odd(Scripted):
        def submit(self, id: int, params: Params) -> None:
            super().submit(id, params)
            if id == 2:
                daemon.listener.inbox.put(Stop())
                raise TypeError("unhashable type: 'list'")

    backend = Odd([])
    (refused,) = daemon.run(backend, generate(1), generate(2))
    assert isinstance(refused, Failed)
    assert (refused.id, refused.data["kind"]) == (2, "InternalError")
    assert "unhashable" in refused.message
    assert (backend.submitted, backend.cancelled) == ([1, 2], [2])


def test_a_cancelled_request_is_not_stepped_for(daemon: Daemon) -> None:
    backend = Scripted([])
    assert daemon.run(backend, generate(1), Cancel(1), Stop()) == [LetGo(1)]
    assert (backend.submitted, backend.cancelled) == ([1], [1])


def test_the_page_says_what_the_thread_is_in_even_if_it_never_returns(daemon: Daemon) -> None:
    seen = []

    class Watched(Scripted):
        def submit(self, id: int, params: Params) -> None:
            seen.append(daemon.vitals.read())

        def step(self) -> list[Event]:
            seen.append(daemon.vitals.read())
            daemon.listener.inbox.put(Cancel(7))
            return []

        def cancel(self, id: int) -> None:
            seen.append(daemon.vitals.read())
            daemon.listener.inbox.put(Stop())

    daemon.run(Watched([]), generate(7))
    assert [(now.doing, now.request) for now in seen] == [(Doing.SUBMIT, 7), (Doing.STEP, 0), (Doing.CANCEL, 7)]
    beats = [now.beats for now in seen]
    assert beats == sorted(set(beats))
    assert daemon.vitals.read().slowest > 0


def test_idle_time_is_for_tidying_up_and_ends_with_the_next_message(daemon: Daemon) -> None:
    inbox = daemon.listener.inbox

    class Tidying(Scripted):
        left = 5

        def tidy(self) -> bool:
            assert not self.submitted or self.cancelled, "a request is open"
            self.left -= 1
            if self.left == 3:
                inbox.put(generate(1))  # what waits is taken before the next piece of work
                inbox.put(Cancel(1))
            if self.left == 0:
                inbox.put(Stop())
            return self.left > 0

    backend = Tidying([])
    assert daemon.run(backend) == [LetGo(1)]
    assert (backend.submitted, backend.cancelled, backend.left) == ([1], [1], 0)


def test_the_end_of_the_socket_ends_the_loop(daemon: Daemon) -> None:
    with pytest.raises(DaemonGone):
        daemon.run(Scripted([]), None)


class Over(Exception):
    """Nothing more arrives."""


@pytest.mark.parametrize("message", [generate(1), Cancel(1), Stop()])
def test_a_backend_hears_of_a_message_before_the_loop_can_take_it(message: ToWorker) -> None:
    listener, heard = listened(message)
    assert listener.inbox.get_nowait() == message
    assert heard == [True]


def test_hurry_is_for_the_step_under_way_and_never_reaches_the_loop() -> None:
    listener, heard = listened(Hurry())
    assert listener.inbox.empty()
    assert heard == [True]


def listened(message: ToWorker) -> tuple[Listener, list[bool]]:
    """A listener that this message has reached; whether its inbox was empty when the backend heard of it."""
    arriving = [message]

    class Arriving:
        def receive(self) -> list[ToWorker]:
            if not arriving:
                raise Over
            return [arriving.pop()]

    class Nosy:
        def interrupt_submit(self, priority: str) -> None:
            heard.append(listener.inbox.empty())

        def interrupt_cancel(self, id: int | None) -> None:
            heard.append(listener.inbox.empty())

    heard: list[bool] = []
    listener = Listener(Arriving())  # type: ignore[arg-type]
    listener.interruptible = Nosy()
    with pytest.raises(Over):
        listener.run()
    return listener, heard


def test_an_answer_that_is_too_long_ends_its_request_alone(daemon: Daemon) -> None:
    long = Tokenized("m", [], ["a"] * (1 << 24))  # the text of each token of a prompt of 16 MB
    steps: list[list[Event]] = [[Finished(1, long)], [Finished(2, ANSWER)]]
    refused, done = daemon.run_through(Scripted(steps), 1, 2)
    assert isinstance(refused, Failed)
    assert (refused.id, refused.data["kind"]) == (1, "InvalidParams")
    assert "in parts" in refused.message
    assert isinstance(done, Done)
    assert done.id == 2
