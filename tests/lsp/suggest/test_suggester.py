"""The suggester with a daemon that answers when the test says so: which request is sent, joined, or ended."""

from __future__ import annotations

import asyncio

import pytest

from tests.lsp.fakes import FakeDaemon, until
from threadrunner.lsp.suggest.ask import Ask, Figures, Suggestion
from threadrunner.lsp.suggest.documents import Document, Place
from threadrunner.lsp.suggest.settings import Settings
from threadrunner.lsp.suggest.suggester import Suggester
from threadrunner.lsp.suggest.workspace import Workspace

pytestmark = pytest.mark.asyncio


class Typing:
    """A person who types at the end of one document's first line."""

    def __init__(self, text: str, speculate: bool = True) -> None:
        self.daemon, self.figures = FakeDaemon(), Figures()
        self.document = Document("file:///w/a.py", "/w/a.py", "python", 1, f"{text}\n")
        workspace = Workspace(settings=Settings(debounce_ms=0, speculate=speculate))
        workspace.documents.open(self.document)
        self.suggester = Suggester(self.daemon, workspace, self.figures)

    def ask(self, text: str = "") -> asyncio.Task[list[Suggestion]]:
        """Type a text, and ask for a suggestion behind it."""
        self.document.lines[0] = self.document.lines[0].rstrip("\n") + text + "\n"
        self.suggester.edited(self.document)
        place = Place(0, len(self.document.lines[0]) - 1)
        return asyncio.create_task(self.suggester.suggest(Ask(self.document, place)))


async def shown(asking: asyncio.Task[list[Suggestion]]) -> list[str]:
    return [suggestion.text for suggestion in await asking]


async def test_accepted_while_the_daemon_works_on_what_follows() -> None:
    typing = Typing("x = ")
    asking = typing.ask()
    (await typing.daemon.sent(1)).end("1")
    assert await shown(asking) == ["1"]
    guess = await typing.daemon.sent(2)
    assert (guess.params["prefix"], guess.params["priority"]) == ("x = 1", "background")
    asking = typing.ask("1")
    await asyncio.sleep(0.01)
    assert not asking.done() and len(typing.daemon.requests) == 2, "the guess is waited for, nothing else is asked"
    guess.end("\ny = 2")
    assert await shown(asking) == ["\ny = 2"]
    await typing.suggester.close()


async def test_a_wrong_guess_makes_way() -> None:
    typing = Typing("x = ")
    asking = typing.ask()
    (await typing.daemon.sent(1)).end("1")
    await asking
    guess = await typing.daemon.sent(2)
    asking = typing.ask("f(")
    own = await typing.daemon.sent(3)
    assert guess.cancelled
    own.end("y)")
    assert await shown(asking) == ["y)"]
    await typing.suggester.close()


async def test_a_guess_that_found_nothing_is_asked_again_in_earnest() -> None:
    typing = Typing("x = ")
    asking = typing.ask()
    (await typing.daemon.sent(1)).end("1")
    await asking
    guess = await typing.daemon.sent(2)
    asking = typing.ask("1")
    await asyncio.sleep(0)
    guess.end("")
    (await typing.daemon.sent(3)).end(" + 2")
    assert await shown(asking) == [" + 2"]
    await typing.suggester.close()


async def test_the_newest_request_wins_and_joins_what_agrees_with_it() -> None:
    typing = Typing("x = ", speculate=False)
    older = typing.ask()
    sent = await typing.daemon.sent()
    newer = typing.ask("co")
    assert await older == []
    sent.speak("comp")
    sent.end("compute(1)")
    assert await shown(newer) == ["mpute(1)"]
    assert (typing.figures.superseded, typing.figures.joined, typing.figures.asked) == (1, 1, 1)
    await typing.suggester.close()


async def test_what_contradicts_the_answer_ends_it_before_another_request_is_sent() -> None:
    typing = Typing("x = ", speculate=False)
    older = typing.ask()
    first = await typing.daemon.sent(1)
    first.speak("y +")
    newer = typing.ask("z")
    second = await typing.daemon.sent(2)
    assert first.cancelled and await older == []
    second.end(" + 2")
    assert await shown(newer) == [" + 2"]
    await typing.suggester.close()


async def test_the_id_of_a_suggestion_stays_while_it_is_typed() -> None:
    typing = Typing("x = ", speculate=False)
    asking = typing.ask()
    (await typing.daemon.sent()).end("compute(1)")
    (first,) = await asking
    (second,) = await typing.ask("comp")
    assert (second.id, second.text) == (first.id, "ute(1)")


async def test_closing_ends_all_that_is_under_way() -> None:
    typing = Typing("x = ")
    asking = typing.ask()
    sent = await typing.daemon.sent()
    await typing.suggester.close()
    assert await asking == []
    await until(lambda: sent.cancelled)
