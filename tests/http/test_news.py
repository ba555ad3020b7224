"""What is told to all that listen: by one connection to the daemon for all of them, which does not start it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support import PATIENCE, Daemon, Wire
from threadrunner.http.news import ROOM, News


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """One that is not started yet."""
    daemon = Daemon()
    monkeypatch.setenv("THREADRUNNER_SOCKET", daemon.socket)
    yield daemon
    daemon.close()


def clients(daemon: Daemon) -> int:
    with Wire(daemon.socket) as wire:
        return int(wire.call("status")["clients"])


async def _told(daemon: Daemon) -> None:
    news = News()
    async with asyncio.timeout(PATIENCE), news.heard() as first:
        assert await first.get() == {"daemon": "gone"} and daemon.process is None
        await asyncio.to_thread(daemon.start)
        alone = await asyncio.to_thread(clients, daemon)
        news.look()
        assert await first.get() == {"daemon": "there"}
        async with news.heard() as second:
            assert await second.get() == {"daemon": "there"}
            assert await asyncio.to_thread(clients, daemon) == alone + 1, "one connection for both"
            news.tell({"session": "s"})
            assert [await each.get() for each in (first, second)] == [{"session": "s"}] * 2
            await news.request("models.load", {})
            assert "event" in await first.get()
        await asyncio.to_thread(daemon.kill)
        while await first.get() != {"daemon": "gone"}:
            pass
        news.end()
        assert await first.get() is None


def test_all_listen_by_one_connection_which_finds_the_daemon_again(daemon: Daemon) -> None:
    asyncio.run(_told(daemon))


async def _slow() -> None:
    news = News()
    async with news.heard() as slow:
        for number in range(ROOM + 5):
            news.tell({"number": number})
        events = [slow.get_nowait() for _ in range(slow.qsize())]
    assert events[-1] is None and len(events) == ROOM + 1


def test_a_listener_that_takes_nothing_is_let_go(daemon: Daemon) -> None:
    asyncio.run(_slow())


async def _one_after_the_other(daemon: Daemon) -> None:
    await asyncio.to_thread(daemon.start)
    news = News()
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):  # as a tab does that is loaded again
            async with news.heard() as listener:
                assert await listener.get() == {"daemon": "there"}


def test_who_comes_when_the_last_one_goes_is_told_of_no_end(daemon: Daemon) -> None:
    asyncio.run(_one_after_the_other(daemon))


async def _meanwhile(daemon: Daemon) -> None:
    await asyncio.to_thread(daemon.start)
    news = News()

    async def listen() -> None:
        async with news.heard() as listener:
            assert await listener.get() == {"daemon": "there"}
            await news.request("status", {})

    async with asyncio.timeout(PATIENCE):
        goes, stays = asyncio.create_task(listen()), asyncio.create_task(listen())
        await asyncio.sleep(0)  # both wait to be told
        goes.cancel()
        await stays


def test_one_that_goes_before_it_is_told_leaves_the_watch_to_the_other(daemon: Daemon) -> None:
    asyncio.run(_meanwhile(daemon))
