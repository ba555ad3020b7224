"""The guess at what follows: one at a time, in the background, and the next request's answer if it was right."""

from __future__ import annotations

import asyncio

import pytest

from tests.lsp.fakes import FakeDaemon, until
from threadrunner.api.errors import Overloaded
from threadrunner.lsp.suggest.ask import Figures
from threadrunner.lsp.suggest.cache import Cache, Key
from threadrunner.lsp.suggest.documents import Place
from threadrunner.lsp.suggest.infill import InfillRequest
from threadrunner.lsp.suggest.infill_client import InfillClient
from threadrunner.lsp.suggest.settings import Settings
from threadrunner.lsp.suggest.speculation import Speculation
from threadrunner.lsp.suggest.window import TextWindow

pytestmark = pytest.mark.asyncio


class Guesses:
    """A speculation with its surroundings; a guess is named by the prefix it is for."""

    def __init__(self) -> None:
        self.daemon, self.cache, self.figures = FakeDaemon(), Cache(), Figures()
        self.speculation = Speculation(InfillClient(self.daemon, self.figures), self.cache, self.figures)

    def start(self, prefix: str) -> None:
        window = TextWindow(prefix, "\n", Place(0, 0), True)
        request = InfillRequest(Settings(), "python", "a.py", window, priority="background")
        self.speculation.start(key(prefix), request)

    def cached(self, prefix: str) -> list[str] | None:
        hit = self.cache.get("", "python", prefix, "\n")
        return hit.texts if hit else None


def key(prefix: str) -> Key:
    return Key.at("", "python", prefix, "\n")


async def test_its_texts_are_in_the_cache_then() -> None:
    guesses = Guesses()
    guesses.start("x = 1")
    sent = await guesses.daemon.sent()
    assert (sent.params["prefix"], sent.params["priority"]) == ("x = 1", "background")
    sent.end("\ny = 2")
    await until(lambda: guesses.cached("x = 1") is not None)
    assert guesses.cached("x = 1") == ["\ny = 2"]
    assert guesses.figures.speculated == 1
    assert guesses.speculation.is_at(key("x = 1")), "and need not be started again"


async def test_a_newer_guess_cancels_the_older_one() -> None:
    guesses = Guesses()
    guesses.start("a")
    first = await guesses.daemon.sent(1)
    guesses.start("b")
    await guesses.daemon.sent(2)
    await until(lambda: first.cancelled)
    assert guesses.speculation.is_at(key("b")) and not guesses.speculation.is_at(key("a"))
    await guesses.speculation.stop()


async def test_a_right_guess_is_waited_for() -> None:
    guesses = Guesses()
    guesses.start("a")
    sent = await guesses.daemon.sent()
    assert not await guesses.speculation.take_over(key("other"))
    taken = asyncio.create_task(guesses.speculation.take_over(key("a")))
    await asyncio.sleep(0)
    assert not taken.done()
    sent.end("bc")
    assert await taken
    assert guesses.cached("a") == ["bc"]


async def test_stopping_waits_until_the_daemon_was_told() -> None:
    guesses = Guesses()
    guesses.start("a")
    sent = await guesses.daemon.sent()
    await guesses.speculation.stop()
    await until(lambda: sent.cancelled)
    assert not guesses.speculation.is_at(key("a"))
    assert not await guesses.speculation.take_over(key("a"))
    await guesses.speculation.stop()


async def test_a_guess_that_fails_or_finds_nothing_leaves_no_trace() -> None:
    guesses = Guesses()
    guesses.start("a")
    (await guesses.daemon.sent(1)).answer.set_exception(Overloaded("busy"))
    assert await guesses.speculation.take_over(key("a"))
    guesses.start("b")
    (await guesses.daemon.sent(2)).end("  \n")
    assert await guesses.speculation.take_over(key("b"))
    assert guesses.cached("a") is None and guesses.cached("b") is None


async def test_a_guess_that_is_dropped_is_cancelled_and_puts_nothing_in_the_cache() -> None:
    guesses = Guesses()
    guesses.start("a")
    sent = await guesses.daemon.sent()
    ended = guesses.speculation.drop()
    assert ended is not None
    await asyncio.wait({ended})
    assert sent.cancelled and guesses.cached("a") is None
    assert guesses.speculation.drop() is None
