"""A session learns from what the editor sends, and keeps it when a file is saved."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from lsprotocol import types as lsp

from tests.lsp.fakes import FakeDaemon, FakeEditor, until
from threadrunner.lsp.counters import Counters
from threadrunner.lsp.learning.store import LearnedStore
from threadrunner.lsp.session import Session
from threadrunner.lsp.suggest.ask import Ask
from threadrunner.lsp.suggest.documents import Place

URI = "file:///work/shapes.py"
CODE = "def area(radius):\n    \n\n\ndef volume(radius):\n    return compute(radius)\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path))
    monkeypatch.delenv("THREADRUNNER_LEARN", raising=False)
    return tmp_path


async def begin(home: Path, daemon: FakeDaemon, **settings: object) -> Session:
    counters = Counters(str(home / "suggestions.jsonl"), lambda: "2026-01-02")
    session = Session(daemon, FakeEditor(), counters, LearnedStore())
    options = {"debounceMs": 0, "speculate": False, "trigger": "manual", **settings}
    session.begin(lsp.InitializeParams(lsp.ClientCapabilities(), initialization_options=options))
    session.set_roots(["file:///work"])
    await session.learn()
    session.opened(lsp.TextDocumentItem(URI, "python", 1, CODE))
    return session


async def take_one(session: Session, daemon: FakeDaemon, text: str) -> None:
    await see_one(session, daemon, text)
    types(session, text)


async def see_one(session: Session, daemon: FakeDaemon, text: str) -> None:
    document = session.documents.get(URI)
    assert document
    asked = asyncio.create_task(session.suggester.suggest(Ask(document, Place(1, 4), manual=True)))
    (await daemon.sent()).end(text, logprobs=[{"text": text, "logprob": -0.1}])
    assert [each.text for each in await asked] == [text]


def types(session: Session, text: str) -> None:
    here = lsp.Position(1, 4)
    change = lsp.TextDocumentContentChangePartial(lsp.Range(here, here), text)
    session.changed(lsp.DidChangeTextDocumentParams(lsp.VersionedTextDocumentIdentifier(version=2, uri=URI), [change]))


def test_what_was_taken_is_kept_with_the_file(home: Path) -> None:
    async def scenario() -> None:
        daemon = FakeDaemon()
        session = await begin(home, daemon)
        await take_one(session, daemon, "return math.pi * radius ** 2")
        assert not (home / "learned").exists()  # nothing on the way of a key
        session.saved(URI)
        await until(lambda: (home / "learned" / "snippets").exists())
        await session.end()

    asyncio.run(scenario())
    told = json.loads((home / "learned" / "habits.json").read_text())
    assert told["counts"]["python"] == {
        "shown": 1, "taken": 1, "typed": 0, "wrong": 0, "quiet": 0, "quiet_right": 0
    }  # fmt: skip
    assert "radius" not in json.dumps(told)  # counts have no text
    (snippets,) = (home / "learned" / "snippets").glob("*.json")
    assert "math.pi * radius" in json.loads(snippets.read_text())["snippets"][0]["text"]


@pytest.mark.parametrize(("seconds", "wrong"), [(0.1, 0), (0.5, 1)])
def test_what_is_typed_over_counts_as_wrong_only_if_it_could_be_seen(home: Path, seconds: float, wrong: int) -> None:
    async def scenario() -> None:
        daemon = FakeDaemon()
        session = await begin(home, daemon)
        now = 1000.0
        session.learner._clock = lambda: now
        await see_one(session, daemon, "return math.pi * radius ** 2")
        now += seconds
        types(session, "x")
        assert session.learner.habits.counts.get("python", {}).get("wrong", 0) == wrong
        assert session.learner.outcomes == wrong
        await session.end()

    asyncio.run(scenario())


def test_an_editor_that_is_not_to_count_learns_nothing(home: Path) -> None:
    async def scenario() -> None:
        daemon = FakeDaemon()
        session = await begin(home, daemon, count=False)
        await take_one(session, daemon, "return math.pi * radius ** 2")
        session.saved(URI)
        await session.end()
        assert "confidence" not in daemon.requests[0].params

    asyncio.run(scenario())
    assert not (home / "learned").exists()
