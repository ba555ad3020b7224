"""A resident carries out what its lifecycle decides. Real asyncio, a process and a host that do what the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.daemon.workers.fakes import FakeHost, FakeProcess, FakeSink
from threadrunner.api.errors import ApiError, InternalError, ModelLoadFailed, WorkerCrashed
from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.workers.hang import HANG
from threadrunner.daemon.workers.lifecycle import State
from threadrunner.daemon.workers.quarantine import identity
from threadrunner.daemon.workers.resident import Resident


def scenario(play: Callable[[Resident, FakeHost], Awaitable[None]]) -> None:
    async def run() -> None:
        host = FakeHost()
        await asyncio.wait_for(play(Resident(ModelRef("m", ""), "dummy", host), host), 30)

    asyncio.run(run())


async def used(resident: Resident, keep_alive: float | None = None, sink: Any = None) -> None:
    async with resident.lease(keep_alive, sink or FakeSink()):
        pass


async def ready(resident: Resident, host: FakeHost) -> FakeProcess:
    """Load it for one use."""
    use = asyncio.create_task(used(resident))
    process = await host.started.get()
    process.load()
    await use
    return process


def test_two_that_come_while_it_loads_share_the_load() -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        sinks = FakeSink(), FakeSink()
        uses = [asyncio.create_task(used(resident, sink=sink)) for sink in sinks]
        process = await host.started.get()
        resident.loading(1, 4)
        process.load()
        await asyncio.gather(*uses)
        resident.loading(2, 4)  # of no interest to them any more
        assert [sink.heard for sink in sinks] == [[("load", 1, 4)]] * 2
        assert host.started.empty()
        assert host.events == ["model.loading", "model.loaded"]

    scenario(play)


def test_a_request_that_is_cancelled_as_its_load_fails_gives_nothing_back() -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        use = asyncio.create_task(used(resident))
        process = await host.started.get()
        resident.load_failed(ModelLoadFailed("no"))
        use.cancel()  # before it hears of the failure
        await asyncio.wait([use])
        process.end()
        assert (use.cancelled(), resident.lifecycle.active) == (True, 0)
        await ready(resident, host)
        assert resident.lifecycle.idle

    scenario(play)


def test_keep_alive_zero_stops_the_worker_after_its_last_request() -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        process = await ready(resident, host)
        async with resident.lease(0, FakeSink()):
            async with resident.lease(0, FakeSink()):
                pass
            assert not process.stopped.is_set()
        assert process.stopped.is_set()
        assert not resident.gone.is_set()
        process.end()
        assert resident.gone.is_set()
        assert host.events[-1] == "model.unloaded"

    scenario(play)


def test_a_timer_stops_it() -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        process = await ready(resident, host)
        await used(resident, keep_alive=0.001)
        await process.stopped.wait()

    scenario(play)


@pytest.mark.parametrize(
    ("trouble", "kind"), [(ModelLoadFailed("no room"), ModelLoadFailed), (RuntimeError("a defect"), InternalError)]
)
def test_a_start_that_fails_is_an_answer_for_all_that_wait(trouble: Exception, kind: type[ApiError]) -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        host.no_room = trouble
        ends = await asyncio.gather(used(resident), used(resident), return_exceptions=True)
        assert [type(end) for end in ends] == [kind, kind]
        assert host.events == ["model.failed"]
        assert resident.gone.is_set()
        assert resident.status().state == "failed"

    scenario(play)


def test_a_crash_before_the_grant_is_noticed_is_its_error() -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        use = asyncio.create_task(used(resident))
        process = await host.started.get()
        process.load()
        process.end(WorkerCrashed("killed"))
        with pytest.raises(WorkerCrashed, match="killed"):
            await use
        assert resident.lifecycle.active == 0

    scenario(play)


@pytest.mark.parametrize("granted", [False, True])
def test_a_request_that_is_cancelled_while_it_waits_leaves_nothing_behind(granted: bool) -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        use = asyncio.create_task(used(resident))
        process = await host.started.get()
        if granted:
            process.load()
        use.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await use
        if not granted:
            process.load()  # the load went on
        assert (resident.lifecycle.state, resident.lifecycle.active) == (State.READY, 0)
        assert resident.lifecycle.expires_at is not None

    scenario(play)


def test_a_discarded_worker_is_followed_by_the_next_for_those_that_wait() -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        process = await ready(resident, host)
        reason = WorkerCrashed("overwritten")
        async with resident.lease(None, FakeSink()):
            resident.discard(reason)
            assert process.discarded is reason
            waiting = asyncio.create_task(used(resident))
            await asyncio.sleep(0)  # it has asked
        process.end()
        (await host.started.get()).load()
        await waiting

    scenario(play)


def test_a_changed_file_is_tried_at_once_after_failures() -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        host.no_room = ModelLoadFailed("bad")
        for _ in range(3):
            with pytest.raises(ModelLoadFailed):
                await used(resident)
        assert resident.lifecycle.error
        resident.fingerprint = "another file's"
        host.no_room = None
        await ready(resident, host)

    scenario(play)


def test_a_worker_that_hangs_gets_no_new_request_and_is_followed_by_the_next() -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        process = await ready(resident, host)
        resident.doomed([])
        waiting = asyncio.create_task(used(resident))
        await asyncio.sleep(0)  # it has asked
        assert host.started.empty()
        process.end(WorkerCrashed("hung", cause=HANG))
        (await host.started.get()).load()
        await waiting

    scenario(play)


def test_a_request_that_hung_twice_is_refused_and_no_other() -> None:
    evil, good = GenerateParams(prompt="evil"), GenerateParams(prompt="good")

    async def ask(resident: Resident, host: FakeHost, params: GenerateParams, answer: bytes | None) -> None:
        """One request, which is answered, or in which the worker hangs."""
        request = asyncio.create_task(asked(resident, params))
        if resident.process is None:
            (await host.started.get()).load()
        process = resident.process
        assert isinstance(process, FakeProcess)
        pending = await process.asked.get()
        if answer is None:
            resident.doomed([identity("generate", params)])
            pending.set_exception(WorkerCrashed("hung", cause=HANG))
            process.end(WorkerCrashed("hung", cause=HANG))
        else:
            pending.set_result(answer)
        with contextlib.suppress(WorkerCrashed):
            await request

    async def asked(resident: Resident, params: GenerateParams) -> bytes:
        async with resident.lease(None, FakeSink()) as lease:
            return await lease.request("generate", "normal", params, FakeSink())

    async def play(resident: Resident, host: FakeHost) -> None:
        for _ in range(2):
            await ask(resident, host, evil, None)
            await ask(resident, host, good, b"{}")
        with pytest.raises(WorkerCrashed, match="2 times the worker of m hung") as refused:
            await asked(resident, evil)
        assert 50 < refused.value.facts["retry_in_s"] <= 60
        await ask(resident, host, good, b"{}")
        await ask(resident, host, GenerateParams(prompt="evil", seed=3), b"{}")

    scenario(play)


def test_unload_presses_a_busy_worker() -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        process = await ready(resident, host)
        async with resident.lease(None, FakeSink()):
            resident.unload()
            assert process.pressed
            assert not process.stopped.is_set()
        assert process.stopped.is_set()

    scenario(play)


@pytest.mark.parametrize("spawned", [False, True])
def test_unload_ends_a_load_that_no_request_waits_for(spawned: bool) -> None:
    async def play(resident: Resident, host: FakeHost) -> None:
        use = asyncio.create_task(used(resident))
        if spawned:
            process = await host.started.get()
        else:  # it waits for room
            host.room = asyncio.Event()
            await asyncio.sleep(0)
        use.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await use
        resident.unload()
        if spawned:
            assert process.stopped.is_set()
            process.end()
        assert resident.gone.is_set()
        assert resident.lifecycle.state is State.STOPPED
        host.room = None
        await ready(resident, host)

    scenario(play)
