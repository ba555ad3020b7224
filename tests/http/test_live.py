"""Answers that tabs watch: found again, and stopped when no tab is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from threadrunner.api.errors import WorkerCrashed
from threadrunner.http.exchange import Exchanges, Order
from threadrunner.http.live import LiveAnswers

ORDER = Order("generate", {"prompt": "hello", "session": "s"}, "")
RESULT = {"text": "a b", "finish_reason": "stop", "model": "m", "usage": {}, "timings": {}}


class ScriptedDaemon:
    """Says what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.ends: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.cancelled = asyncio.Event()
        self.notice: Any = None

    async def request(self, _method: str, _params: dict[str, Any], notice: Any = None) -> Any:
        self.notice = notice
        try:
            return await self.ends
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def say(self, text: str) -> None:
        self.notice("token", {"index": 0, "text": text})


class Scene:
    def __init__(self) -> None:
        self.daemon = ScriptedDaemon()
        self.heard: list[dict[str, Any]] = []
        self.live = LiveAnswers(Exchanges(self.daemon), self.heard.append)
        self.answer = self.live.begin("s", ORDER, "tab1")


async def values(lines: AsyncGenerator[bytes, None], count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        found += [json.loads(line) for line in (await anext(lines)).splitlines() if line]
    return found


async def rest(lines: AsyncGenerator[bytes, None]) -> list[Any]:
    return [json.loads(line) async for body in lines for line in body.splitlines() if line]


async def _begun() -> Scene:
    scene = Scene()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    scene.daemon.say("a")
    return scene


def test_a_late_watcher_hears_all_of_it_and_both_hear_the_end() -> None:
    async def scene() -> None:
        it = await _begun()
        first = it.answer.watch()
        assert await values(first, 2) == [{"session": "s", "prompt": "hello"}, {"text": "a"}]
        it.daemon.say(" b")
        second = it.answer.watch()
        it.daemon.ends.set_result(RESULT)
        one, two = await asyncio.gather(rest(first), rest(second))
        assert [line.get("text") for line in two[:3]] == [None, "a", " b"]
        assert one == two[2:] and one[-1]["done"]["text"] == "a b"
        assert "s" not in it.live and [event["change"] for event in it.heard] == ["begun", "ended"]

    asyncio.run(scene())


def test_it_goes_on_for_a_while_without_a_tab_and_is_then_stopped() -> None:
    async def scene() -> None:
        it = await _begun()
        gone = it.answer.watch(grace=60)
        await values(gone, 2)
        await gone.aclose()
        back = it.answer.watch(grace=0)
        await values(back, 2)
        assert not it.daemon.cancelled.is_set()
        await back.aclose()
        await it.daemon.cancelled.wait()
        assert (await rest(it.answer.watch()))[-1] == {"stopped": True}
        assert "s" not in it.live

    asyncio.run(scene())


def test_one_tab_that_goes_does_not_end_it_for_another() -> None:
    async def scene() -> None:
        it = await _begun()
        stays, goes = it.answer.watch(grace=0), it.answer.watch(grace=0)
        await values(stays, 2)
        await values(goes, 2)
        await goes.aclose()
        await asyncio.sleep(0)
        it.daemon.ends.set_result(RESULT)
        assert "done" in (await rest(stays))[-1]

    asyncio.run(scene())


def test_an_error_ends_it_with_what_there_is_to_know() -> None:
    async def scene() -> None:
        it = await _begun()
        it.daemon.ends.set_exception(WorkerCrashed("the worker ended", signal="SIGSEGV"))
        *_, last = await rest(it.answer.watch())
        assert last == {"failed": {"kind": "WorkerCrashed", "message": "the worker ended", "signal": "SIGSEGV"}}

    asyncio.run(scene())
