"""What the machine or the options do not allow: said in words, and the next request works once it is allowed."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import python_path
from tests.daemon.workers.fakes import FakeProcess, FakeSink, model_file
from tests.daemon.workers.test_fleet import GB, FakeFleet, scenario
from tests.support import Daemon, running
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.config import Config
from threadrunner.daemon.workers import eviction, fleet
from threadrunner.daemon.workers.process import no_process_error
from threadrunner.daemon.workers.resident import Resident

__all__ = ["scenario"]

MB = 1 << 20


@pytest.fixture
def watching(plugin: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))


def test_without_descriptors_a_worker_is_refused_and_later_prompts_work(watching: Daemon) -> None:
    wire = watching.wire()
    wire.call("generate", prompt="count")
    wire.call("models.unload")
    soft, hard = resource.prlimit(watching.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(watching.pid, resource.RLIMIT_NOFILE, (1, hard))
    before = descriptors(watching)
    for _ in range(20):  # it does not back off: nothing is wrong with the model
        error = wire.fail("generate", prompt="x")
        assert (error["data"]["kind"], error["data"]["reason"]) == ("ModelLoadFailed", "resources")
        assert "no file descriptor is left" in error["message"]
    assert descriptors(watching) < before + 10, "each spawn that failed has left some open"
    resource.prlimit(watching.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert "others" in wire.call("generate", prompt="count")["text"]
    assert "Traceback" not in watching.log


def descriptors(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (23, "no file descriptor is left"),
        (11, "no room for another process"),
        (12, "no room for another process"),
        (13, "could not be started: Permission denied"),
    ],
)
def test_why_there_is_no_process(number: int, says: str) -> None:
    assert says in no_process_error("m", OSError(number, os.strerror(number))).message


class TestMemoryTotal:
    def test_a_model_that_it_never_allows_is_refused_and_unloads_nothing(
        self, scenario: Callable[..., None], tmp_path: Path
    ) -> None:
        async def play(fake: FakeFleet) -> None:
            old = await fake.load(model_file(tmp_path / "old.gguf"), rss=GB)
            with pytest.raises(ModelLoadFailed, match=r"needs 3,221 MB or more, and memory_total allows .* 2,147") as e:
                await fake.used(model_file(tmp_path / "large.gguf", size=3 * GB))
            assert e.value.facts == {"needed_bytes": 3 * GB, "limit_bytes": 2 * GB}
            assert not old.stopped.is_set()
            assert await fake.used(model_file(tmp_path / "old.gguf"))

        scenario(play, memory_total=2 * GB)

    def test_the_limit_of_one_model_too(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        async def play(fake: FakeFleet) -> None:
            with pytest.raises(ModelLoadFailed, match="memory_limit allows one model 0 MB") as caught:
                await fake.used(model_file(tmp_path / "m.gguf"))
            assert caught.value.facts == {"needed_bytes": 1000, "limit_bytes": 1}

        scenario(play, memory_limit=1)

    def test_our_backends_buffers_count(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        async def play(fake: FakeFleet) -> None:
            model = model_file(tmp_path / "m.gguf", size=900 * MB)
            with pytest.raises(ModelLoadFailed, match="memory_total"):
                async with fake.use(model, "llama", None, FakeSink()):
                    pass

        scenario(play, memory_total=1000 * MB)

    def test_all_parts_of_a_split_model_count(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        async def play(fake: FakeFleet) -> None:
            first = model_file(tmp_path / "m-00001-of-00002.gguf", size=GB)
            model_file(tmp_path / "m-00002-of-00002.gguf", size=GB)
            with pytest.raises(ModelLoadFailed, match="memory_total"):
                await fake.used(first)

        scenario(play, memory_total=GB * 3 // 2)

    def test_the_worker_may_take_what_the_others_leave(
        self, scenario: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        specs: list[Any] = []

        class Recorded(FakeProcess):
            def __init__(self, name: str, owner: Resident, launched: None) -> None:
                super().__init__(owner)

            def start(self, backend: str, spec: Any, fit: Any) -> None:
                specs.append(spec)
                fit.cancel()

        async def play(fake: FakeFleet) -> None:
            await fake.load(model_file(tmp_path / "old.gguf"), rss=GB)
            monkeypatch.setattr(FakeFleet, "start_worker", fleet.Fleet.start_worker)
            monkeypatch.setattr(fleet, "WorkerProcess", Recorded)
            use = asyncio.create_task(fake.used(model_file(tmp_path / "new.gguf")))
            while not specs:
                await asyncio.sleep(0)
            assert specs[0].memory_limit == 2 * GB
            fake.configure(Config(memory_total=3 * GB, memory_limit=GB))
            assert fake._limit(fake.loaded[-1]) == GB
            use.cancel()

        scenario(play, memory_total=3 * GB)

    def test_numbers_beyond_all_use_do_no_harm(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        """ggml is overrun by many threads, and the kernel takes no limit above 2**63."""

        async def play(fake: FakeFleet) -> None:
            spec = fake._spec(Resident(model_file(tmp_path / "m.gguf"), "llama", fake))
            assert spec.threads == 512
            assert 2 * spec.cache_bytes + (1 << 30) < 2**63

        scenario(play, threads=100_000, cache_bytes=2**63 - 1)

    def test_room_is_made_for_what_a_load_may_take(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        """Its file says little of a small model: most of what it takes is its cache."""

        async def play(fake: FakeFleet) -> None:
            old = await fake.load(model_file(tmp_path / "old.gguf"), rss=500 * MB)
            use = asyncio.create_task(fake.used(model_file(tmp_path / "new.gguf", size=100 * MB)))
            await old.stopped.wait()
            old.end()
            (await fake.started.get()).load()
            await use

        assert eviction.BUFFERS + eviction.USUAL_CACHE > 500 * MB
        scenario(play, memory_total=1000 * MB)
