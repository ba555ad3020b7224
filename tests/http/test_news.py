"""What is told to all that listen: by one connection to the daemon for all of them, which does not start it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support import PATIENCE, Daemon, Wire
from threadrunner.client import aio
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


async def _reloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is slow to answer, say one that systemd is just starting."""
    found = asyncio.Event()

    async def connected(_listen: object) -> None:
        await found.wait()
        raise ConnectionRefusedError

    monkeypatch.setattr(aio, "connected", connected)
    news = News()

    async def first_word() -> object:
        async with news.heard() as listener:
            return await listener.get()

    tab, again = asyncio.create_task(first_word()), asyncio.create_task(first_word())
    await asyncio.sleep(0)
    tab.cancel()
    await asyncio.wait({tab})
    found.set()
    assert await asyncio.wait_for(again, PATIENCE) == {"daemon": "gone"}


def test_a_tab_that_goes_before_the_first_look_leaves_no_other_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_reloaded(monkeypatch))
