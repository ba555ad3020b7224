"""Readers that the selector itself calls: the loop has its turn whenever there is something for it to do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.support import PATIENCE
from threadrunner.daemon.workers.direct_loop import DirectLoop, add_reader

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=DirectLoop) as runner:
        runner.run(asyncio.wait_for(main, PATIENCE))


def turns(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many turns the loop has had so far."""
    count = 0
    process = loop._process_events  # type: ignore[attr-defined]

    def counted(events: object) -> None:
        nonlocal count
        count += 1
        process(events)

    monkeypatch.setattr(loop, "_process_events", counted)
    return lambda: count


def test_what_arrives_is_read_without_a_turn_of_the_loop(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        read: list[bytes] = []

        def readable() -> None:
            read.append(ours.recv(1))
            if len(read) < 20:
                theirs.send(b"x")
            else:
                done.set_result(None)

        remove = add_reader(ours.fileno(), readable)
        theirs.send(b"x")
        counted = turns(loop, monkeypatch)
        await done
        assert len(read) == 20
        assert counted() <= 2  # one in which it is read, and one for what waited for it
        remove()

    run(main())


def test_others_have_their_turns_beside_a_reader_that_is_always_ready(pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        calls = 0

        def readable() -> None:  # it leaves the byte where it is
            nonlocal calls
            calls += 1

        theirs.send(b"x")
        remove = add_reader(ours.fileno(), readable)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.01)  # a timer
        await loop.run_in_executor(None, int)  # another thread, which wakes the loop
        a, b = socket.socketpair()  # another descriptor
        a.setblocking(False)
        with a, b:
            b.send(b"y")
            assert await loop.sock_recv(a, 1) == b"y"
        assert calls
        remove()
        before = calls
        await asyncio.sleep(0.01)
        assert calls == before

    run(main())


@pytest.mark.parametrize("how", ["a future", "call_soon", "a timer", "a task"])
def test_what_a_reader_schedules_is_done(pair: Pair, how: str) -> None:
    ours, theirs = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        async def task() -> None:
            done.set_result(None)

        def readable() -> None:
            ours.recv(1)
            if how == "a future":
                done.set_result(None)
            elif how == "call_soon":
                loop.call_soon(done.set_result, None)
            elif how == "a timer":
                loop.call_later(0.001, done.set_result, None)
            else:
                loop.kept = loop.create_task(task())  # type: ignore[attr-defined]

        remove = add_reader(ours.fileno(), readable)
        await asyncio.sleep(0.001)
        theirs.send(b"x")
        await done  # no other event ends this wait
        remove()

    run(main())


def test_a_reader_that_raises_is_told_of_and_ends_nothing(pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[BaseException] = loop.create_future()
        loop.set_exception_handler(lambda _, context: told.set_result(context["exception"]))

        def readable() -> None:
            ours.recv(1)
            raise ValueError("no message")

        remove = add_reader(ours.fileno(), readable)
        theirs.send(b"x")
        assert str(await told) == "no message"
        remove()

    run(main())


def test_another_loop_has_the_reader_as_one_of_its_own(pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        done = asyncio.get_running_loop().create_future()
        remove = add_reader(ours.fileno(), lambda: done.done() or done.set_result(ours.recv(1)))
        theirs.send(b"x")
        assert await done == b"x"
        remove()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
