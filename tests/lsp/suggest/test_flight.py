from __future__ import annotations

import asyncio
import contextlib

import pytest

from threadrunner.lsp.suggest.documents import Place
from threadrunner.lsp.suggest.flight import Flight, agree, typed_since
from threadrunner.lsp.suggest.window import TextWindow


def window(prefix: str, suffix: str = "\n", line: int = 0) -> TextWindow:
    return TextWindow(prefix, suffix, Place(line, 0), True)


@pytest.mark.parametrize(
    ("now", "typed"),
    [
        (window("x = "), ""),
        (window("x = co"), "co"),
        (window("x = f(", ")\n"), "f("),  # the closer is the editor's
        (window("x ="), None),
        (window("y = co"), None),
        (window("x = co", " + 1\n"), None),
        (window("x = co", line=32), None),
    ],
)
def test_what_was_typed_since(now: TextWindow, typed: str | None) -> None:
    assert typed_since(window("x = "), now) == typed


@pytest.mark.parametrize(
    ("typed", "said", "both"),
    [("", "", True), ("c", "", True), ("c", "co", True), ("com", "co", True), ("d", "co", False)],
)
def test_agreement(typed: str, said: str, both: bool) -> None:
    assert agree(typed, said) is both


async def departed(answer: asyncio.Future[list[str]]) -> Flight:
    flight = Flight(window("x = "))

    async def fly() -> list[str]:
        return await answer

    flight.start(fly())
    await asyncio.sleep(0)
    return flight


def test_who_comes_before_the_other_has_left_is_not_left_alone() -> None:
    """The newer request waits already when the older one's cancel is heard; nothing may end the flight then."""

    async def run() -> None:
        answer: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        flight = await departed(answer)
        older = asyncio.create_task(flight.result())
        await asyncio.sleep(0)
        newer = asyncio.create_task(flight.result())
        await asyncio.sleep(0)
        older.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await older
        assert not flight.abandoned
        answer.set_result(["compute"])
        assert await newer == ["compute"]

    asyncio.run(run())


def test_a_flight_that_nobody_waits_for_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadrunner.lsp.suggest.flight.GRACE", 0.0)

    async def run() -> None:
        flight = await departed(asyncio.get_running_loop().create_future())
        only = asyncio.create_task(flight.result())
        await asyncio.sleep(0)
        only.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await only
        await asyncio.wait({flight.task})
        assert flight.task.cancelled() and not flight.join(window("x = c"))

    asyncio.run(run())


def test_a_contradiction_ends_it() -> None:
    async def run() -> None:
        flight = await departed(asyncio.get_running_loop().create_future())
        assert flight.join(window("x = co"))
        flight.receive("com")
        assert flight.join(window("x = comp"))
        flight.receive("mon")
        assert await flight.result() is None

    asyncio.run(run())


def test_who_is_cancelled_while_ending_one_is_cancelled() -> None:
    """The newest key's cancel is not taken for that of the request which is being ended."""

    async def run() -> None:
        slow = asyncio.Event()
        flight = Flight(window("x = "))

        async def fly() -> list[str]:
            try:
                return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
            finally:
                await slow.wait()

        flight.start(fly())
        await asyncio.sleep(0)
        ending = asyncio.create_task(flight.end())
        await asyncio.sleep(0)
        ending.cancel()
        await asyncio.wait({ending})
        assert ending.cancelled()
        slow.set()
        await asyncio.wait({flight.task})

    asyncio.run(run())
