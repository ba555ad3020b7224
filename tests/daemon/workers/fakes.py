"""Worker processes that do what a test says, and a host for residents that has them."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from threadrunner.api.errors import ApiError
from threadrunner.backends.base import ModelFacts
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.workers.resident import Resident
from threadrunner.daemon.workers.sink import EncodedPiece

_pids = itertools.count(1_000_000_000)


class FakeProcess:
    """In the place of a WorkerProcess. Ends only when the test says so."""

    def __init__(self, owner: Resident) -> None:
        self.owner = owner
        self.pid = next(_pids)
        self.gauges: dict[str, float] = {}
        self.asked: asyncio.Queue[asyncio.Future[bytes]] = asyncio.Queue()
        self.stopped = asyncio.Event()
        self.discarded: ApiError | None = None
        self.pressed = False

    async def request(self, method: str, priority: str, params: Any, sink: Any) -> bytes:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(answer)
        return await answer

    def stop(self) -> None:
        self.stopped.set()

    def press(self) -> None:
        self.pressed = True

    def discard(self, reason: ApiError) -> None:
        self.discarded = reason

    async def wait(self) -> None:
        if self.owner.process is self:
            self.end()

    # What the process does.

    def load(self) -> None:
        self.owner.loaded(ModelFacts(context=64))

    def end(self, crash: ApiError | None = None) -> None:
        self.owner.ended(crash)


class FakeHost:
    """In the place of a Fleet, for one resident."""

    def __init__(self) -> None:
        self.keep_alive = 300.0
        self.started: asyncio.Queue[FakeProcess] = asyncio.Queue()
        self.events: list[str] = []
        self.no_room: Exception | None = None
        self.room: asyncio.Event | None = None

    def start_worker(self, resident: Resident, fit: Awaitable[object]) -> FakeProcess:
        process = FakeProcess(resident)
        self.started.put_nowait(process)
        return process

    async def make_room(self, newcomer: Resident) -> None:
        if self.no_room:
            raise self.no_room
        if self.room:
            await self.room.wait()

    def announce(self, event: str, model: str, facts: dict[str, object]) -> None:
        self.events.append(event)

    def changed(self) -> None: ...


class FakeSink:
    def __init__(self) -> None:
        self.heard: list[tuple[str, int, int]] = []

    def piece(self, piece: EncodedPiece) -> None: ...

    def flush(self) -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None:
        self.heard.append((stage, done, total))


def model_file(path: Path, size: int = 1000) -> ModelRef:
    """A model of that size, written long ago: nothing waits for it to be complete.

    A file that is there is replaced by rename, and kept under another name: a worker's mapping keeps it as well.
    """
    if path.exists():
        os.link(path, path.with_suffix(f".{path.stat().st_ino}"))
    other = path.with_suffix(".new")
    with other.open("wb") as file:
        file.truncate(size)
    os.utime(other, (1e9, 1e9))
    other.replace(path)
    return ModelRef(path.stem, str(path))
