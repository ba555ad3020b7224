"""The fleet's own decisions: which resident answers, which one gives way for memory, what a changed file leads to.

Real asyncio and real files; processes that do what the test says, and memory as the test has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.daemon.workers.fakes import FakeProcess, FakeSink, model_file
from tests.support import PATIENCE
from threadrunner import machine
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.backends.base import ModelFacts
from threadrunner.config import Config
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.workers import eviction, fleet
from threadrunner.daemon.workers.fleet import Fleet
from threadrunner.daemon.workers.resident import Resident

GB = 1 << 30


class FakeWatch:
    """In the place of the watch of files; a test calls `changed` itself."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.paths: set[str] = set()

    def files(self, paths: set[str]) -> None:
        self.paths = paths

    def close(self) -> None: ...


class FakeFleet(Fleet):
    """A fleet whose workers do what the test says."""

    def __init__(self, config: Config) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.started: asyncio.Queue[FakeProcess] = asyncio.Queue()
        self.bytes: dict[int, int] = {}
        super().__init__(config, "", lambda event, model, facts: self.events.append((event, facts)), lambda: None)
        self.watch: FakeWatch = self._watch

    def start_worker(self, resident: Resident, fit: Awaitable[object]) -> FakeProcess:
        process = FakeProcess(resident)
        self.started.put_nowait(process)
        return process

    async def used(self, model: ModelRef) -> Resident:
        async with self.use(model, "dummy", None, FakeSink()) as lease:
            return lease.resident

    async def load(self, model: ModelRef, rss: int = 0) -> FakeProcess:
        """Load a model for one use; its process takes `rss` bytes from then on."""
        use = asyncio.create_task(self.used(model))
        process = await self.started.get()
        self.bytes[process.pid] = rss
        process.load()
        await use
        return process

    @property
    def names(self) -> list[str]:
        return [event for event, _ in self.events]


Play = Callable[[FakeFleet], Awaitable[None]]


@pytest.fixture
def scenario(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plays on a fleet; `free` are bytes for models on a machine that has no workers yet."""

    def begin(play: Play, free: int = 1 << 60, **options: int) -> None:
        async def run() -> None:
            fake = FakeFleet(Config(**options))
            monkeypatch.setattr(machine, "resident_bytes", lambda pid: fake.bytes.get(pid, 0))
            monkeypatch.setattr(
                machine,
                "available_memory",
                lambda: free + eviction.RESERVE - sum(resident.rss_bytes for resident in fake.loaded),
            )
            await asyncio.wait_for(play(fake), PATIENCE)
            await fake.close()

        asyncio.run(run())

    monkeypatch.setattr(fleet, "Watch", FakeWatch)
    return begin


def test_all_names_of_a_file_have_one_resident(scenario: Callable[..., None], tmp_path: Path) -> None:
    model = model_file(tmp_path / "m.gguf")

    async def play(fake: FakeFleet) -> None:
        await fake.load(model)
        assert await fake.used(model._replace(name="alias")) in fake.loaded
        assert fake.started.empty()
        other = asyncio.create_task(fake.use(model, "llama", None, FakeSink()).__aenter__())
        await fake.started.get()
        other.cancel()
        assert sorted(resident.backend for resident in fake.loaded) == ["dummy", "llama"]

    scenario(play)


class TestRoom:
    def test_the_least_recently_used_goes_and_the_newcomer_waits_for_it(
        self, scenario: Callable[..., None], tmp_path: Path
    ) -> None:
        async def play(fake: FakeFleet) -> None:
            old = await fake.load(model_file(tmp_path / "old.gguf"), rss=GB)
            recent = await fake.load(model_file(tmp_path / "recent.gguf"), rss=GB)
            use = asyncio.create_task(fake.used(model_file(tmp_path / "new.gguf", size=GB)))
            await old.stopped.wait()
            assert not recent.stopped.is_set()
            assert fake.started.empty()
            old.end()
            (await fake.started.get()).load()
            await use

        scenario(play, free=3 * GB)

    def test_an_idle_one_goes_for_memory_of_the_gpu(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        """Memory has room for all; of the GPU's 10 GB, `old` has 6 and `small` 1. The newcomer takes 4."""

        async def load(fake: FakeFleet, name: str, taken: int, free: int) -> FakeProcess:
            use = asyncio.create_task(fake.used(model_file(tmp_path / f"{name}.gguf", size=taken * GB)))
            process = await fake.started.get()
            device = {"name": "GPU0", "kind": "gpu", "total_bytes": 10 * GB}
            device |= {"free_bytes": free * GB, "model_bytes": taken * GB}
            process.owner.loaded(ModelFacts(context=64, facts={"devices": [device]}))
            await use
            return process

        async def play(fake: FakeFleet) -> None:
            small = await load(fake, "small", taken=1, free=9)
            old = await load(fake, "old", taken=6, free=3)
            await fake.used(small.owner.model)  # so that it is the one used last
            assert not old.stopped.is_set(), "there was room for both"
            use = asyncio.create_task(fake.used(model_file(tmp_path / "new.gguf", size=4 * GB)))
            await old.stopped.wait()
            assert not small.stopped.is_set(), "what `old` had is enough"
            assert fake.started.empty()
            old.end()
            (await fake.started.get()).load()
            await use

        scenario(play)

    def test_a_busy_one_is_waited_for(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        async def play(fake: FakeFleet) -> None:
            model = model_file(tmp_path / "busy.gguf")
            busy = await fake.load(model, rss=2 * GB)
            async with fake.use(model, "dummy", None, FakeSink()):
                use = asyncio.create_task(fake.used(model_file(tmp_path / "new.gguf", size=GB)))
                for _ in range(5):
                    await asyncio.sleep(0)
                assert not busy.stopped.is_set()
                assert busy.pressed, "it may hang, and would be waited for in vain"
            await busy.stopped.wait()
            busy.end()
            (await fake.started.get()).load()
            await use

        scenario(play, free=3 * GB)

    def test_our_own_limit_counts_too(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        async def play(fake: FakeFleet) -> None:
            old = await fake.load(model_file(tmp_path / "old.gguf"), rss=GB)
            use = asyncio.create_task(fake.used(model_file(tmp_path / "new.gguf", size=GB)))
            await old.stopped.wait()
            old.end()
            (await fake.started.get()).load()
            await use

        scenario(play, memory_total=2 * GB)

    def test_two_that_load_do_not_count_on_the_same_room(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        async def play(fake: FakeFleet) -> None:
            models = [model_file(tmp_path / f"{name}.gguf", size=GB) for name in "ab"]
            uses = [asyncio.create_task(fake.used(model)) for model in models]
            first = await fake.started.get()
            for _ in range(5):
                await asyncio.sleep(0)
            assert fake.started.empty(), "the first has not taken its memory yet, but will"
            fake.bytes[first.pid] = 2 * GB
            first.load()
            await uses[0]
            await first.stopped.wait()
            first.end()
            (await fake.started.get()).load()
            await uses[1]

        scenario(play, free=2 * GB)

    def test_what_a_model_took_counts_more_than_its_files_size(
        self, scenario: Callable[..., None], tmp_path: Path
    ) -> None:
        async def play(fake: FakeFleet) -> None:
            model = model_file(tmp_path / "m.gguf")
            assert fake.fits(model)
            process = await fake.load(model, rss=2 * GB)
            await fake.used(model)
            process.end()
            assert not fake.fits(model)

        scenario(play, free=GB)


class TestReload:
    """The watch says that something has changed; `changed` is called in its place."""

    def test_a_replaced_file_takes_over_once_it_has_generated(
        self, scenario: Callable[..., None], tmp_path: Path
    ) -> None:
        async def play(fake: FakeFleet) -> None:
            model = model_file(tmp_path / "m.gguf")
            old = await fake.load(model)
            before = await fake.used(model)
            model_file(tmp_path / "m.gguf")
            fake.watch.changed()
            new = await fake.started.get()
            fake.watch.changed()  # it is being reloaded already
            new.load()
            probe = await new.asked.get()
            assert await fake.used(model) is before
            probe.set_result(b"{}")
            await old.stopped.wait()
            assert await fake.used(model) is new.owner
            assert before in fake.loaded
            old.end()
            assert fake.loaded == [new.owner]
            assert fake.started.empty()
            assert fake.names == [
                "model.loading", "model.loaded", "model.reloading", "model.loading", "model.loaded", "model.reloaded",
                "model.unloaded",
            ]  # fmt: skip

        scenario(play)

    def test_a_bad_one_is_not_tried_again_until_it_changes(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        async def play(fake: FakeFleet) -> None:
            model = model_file(tmp_path / "m.gguf")
            old = await fake.load(model)
            for _ in range(2):
                model_file(tmp_path / "m.gguf")
                fake.watch.changed()
                bad = await fake.started.get()
                (reload,) = [task for task in asyncio.all_tasks() if task.get_name().startswith("reload")]
                bad.owner.load_failed(ModelLoadFailed("bad"))
                bad.end()
                await reload
                fake.watch.changed()
                await asyncio.sleep(0)
                assert fake.started.empty()
                assert not old.stopped.is_set()
                assert await fake.used(model) is old.owner

        scenario(play)

    def test_without_room_for_both_the_old_one_goes_first(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        async def play(fake: FakeFleet) -> None:
            model = model_file(tmp_path / "m.gguf")
            old = await fake.load(model, rss=2 * GB)
            await fake.used(model)
            model_file(tmp_path / "m.gguf")
            fake.watch.changed()
            await old.stopped.wait()
            assert fake.started.empty()
            old.end()
            new = await fake.started.get()
            new.load()
            (await new.asked.get()).set_result(b"{}")
            assert await fake.used(model) is new.owner

        scenario(play, free=3 * GB)

    def test_a_file_written_in_place_ends_its_worker_with_the_reason(
        self, scenario: Callable[..., None], tmp_path: Path
    ) -> None:
        async def play(fake: FakeFleet) -> None:
            model = model_file(tmp_path / "m.gguf")
            process = await fake.load(model)
            with open(model.path, "r+b") as file:
                file.truncate(1)
            fake.watch.changed()
            assert process.discarded
            assert process.discarded.facts["cause"] == "file overwritten"
            assert fake.events[-1] == ("model.reloading", {"how": "rewritten"})
            process.discarded = None
            fake.watch.changed()  # it is ending already
            assert process.discarded is None

        scenario(play)

    def test_the_folders_of_what_is_loaded_are_watched(self, scenario: Callable[..., None], tmp_path: Path) -> None:
        async def play(fake: FakeFleet) -> None:
            model = model_file(tmp_path / "m.gguf")
            process = await fake.load(model)
            assert fake.watch.paths == {model.path}
            process.end()
            assert fake.watch.paths == set()

        scenario(play)
