"""A session alone: its settings, what it loads and asks, and what it tells the person."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as lsp

from tests.lsp.fakes import FakeDaemon, FakeEditor, until
from threadrunner.api.errors import ModelNotFound, Overloaded
from threadrunner.lsp.completions import suggest
from threadrunner.lsp.counters import Counters
from threadrunner.lsp.session import Session
from threadrunner.lsp.suggest.ask import Ask
from threadrunner.lsp.suggest.documents import Place


@dataclass
class Setup:
    file: Path
    daemon: FakeDaemon = field(default_factory=FakeDaemon)
    editor: FakeEditor = field(default_factory=FakeEditor)

    def __post_init__(self) -> None:
        self.session = Session(self.daemon, self.editor, Counters(str(self.file), lambda: "2026-01-02"))

    def begin(self, settings: dict[str, Any] | None = None, **capabilities: Any) -> Session:
        options = {"debounceMs": 0, "speculate": False, **(settings or {})}
        self.session.begin(lsp.InitializeParams(lsp.ClientCapabilities(**capabilities), initialization_options=options))
        self.session.set_roots(["file:///work", None])
        return self.session

    def open(self, uri: str, text: str = "x = \n", language: str = "Python") -> None:
        self.session.opened(lsp.TextDocumentItem(uri, language, 1, text))


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    yield Setup(tmp_path / "suggestions.jsonl")


def ask(session: Session, uri: str = "file:///work/a.py") -> Ask:
    document = session.documents.get(uri)
    assert document
    return Ask(document, Place(0, 4))


def test_the_person_is_told_once_of_each_other_machine(setup: Setup) -> None:
    async def scenario() -> None:
        session = setup.begin()
        for number, host in enumerate(["", "box.example", "box.example", "other.example", ""], 1):
            asked = asyncio.create_task(session.generate([{"role": "user", "content": "x"}], {}))
            (await setup.daemon.sent(number)).end("yes", model="remote:box/m", **({"host": host} if host else {}))
            await asked
            session.figures.answered += 1
            session.answered()
            assert session.state_message == (f"asks {host}" if host else "")

    asyncio.run(scenario())
    assert [text.split(", ")[1] for _, text in setup.editor.shown] == [
        "box.example (remote:box/m)", "other.example (remote:box/m)",
    ]  # fmt: skip


def test_settings_that_cannot_be_used_are_told_and_the_defaults_hold(setup: Setup) -> None:
    session = setup.begin({"maxTokens": 7})
    assert session.settings.max_tokens == 7 and setup.editor.shown == []
    session.configure({"maxTokens": "many"})
    assert session.settings.max_tokens == 96
    ((kind, text),) = setup.editor.shown
    assert kind == lsp.MessageType.Warning and "maxTokens" in text


def test_roots_are_what_the_model_is_shown_paths_below(setup: Setup) -> None:
    session = setup.begin()
    assert session.ignore.shown_path("/work/sub/a.py") == "sub/a.py"
    session.set_roots(["file:///elsewhere"])
    assert session.ignore.shown_path("/work/sub/a.py") == "a.py"
    session.set_roots([None])
    assert session.ignore.roots == []


def test_a_failure_is_shown_once_and_other_settings_begin_again(setup: Setup) -> None:
    session = setup.begin()
    for _ in range(3):
        session.failed(ModelNotFound("no such model"))
    assert setup.editor.shown == [(lsp.MessageType.Error, "ThreadRunner: no such model")]
    assert not session.outage.may_ask(0.0)
    session.configure({"model": "another"})
    assert session.outage.may_ask(0.0), "the pause is over"
    session.failed(ModelNotFound("no such model"))
    assert len(setup.editor.shown) == 2, "and a failure is news again"


@pytest.mark.asyncio
async def test_what_did_not_come_from_the_daemon_ends_no_outage(setup: Setup) -> None:
    session = setup.begin({"trigger": "manual", "languages": {"rust": False}})
    for name, language in [("a.py", "python"), ("a.rs", "rust")]:
        setup.open(f"file:///work/{name}", language=language)
    asking = asyncio.create_task(suggest(session, replace(ask(session), manual=True)))
    (await setup.daemon.sent(1)).answer.set_exception(ModelNotFound("no such model"))
    assert await asking == []
    assert await suggest(session, ask(session, "file:///work/a.rs")) == [] and session.state == "error"
    older = asyncio.create_task(suggest(session, replace(ask(session), manual=True)))
    await setup.daemon.sent(2)
    newer = asyncio.create_task(suggest(session, replace(ask(session), manual=True)))
    (await setup.daemon.sent(3)).answer.set_exception(ModelNotFound("no such model"))
    assert await older == await newer == []
    assert len(setup.editor.shown) == 1, "told once, though a newer request had replaced an older one"
    asking = asyncio.create_task(suggest(session, replace(ask(session), manual=True)))
    (await setup.daemon.sent(4)).end("1")
    assert [each.text for each in await asking] == ["1"] and session.state == "ready"
    await session.end()


def test_a_failure_that_the_next_key_may_not_meet_is_not_shown(setup: Setup) -> None:
    session = setup.begin()
    session.failed(Overloaded("busy"))
    assert setup.editor.shown == [] and session.state == "error"


def test_the_state_is_told_to_clients_that_take_it(setup: Setup) -> None:
    session = setup.begin()
    session.answered()
    assert session.state == "starting", "the daemon was not asked"
    session.figures.answered += 1
    session.answered()
    assert session.state == "ready" and setup.editor.notified == []
    session.client = replace(session.client, status=True)
    for state in ("loading", "loading", "ready"):
        session.set_state(state)
    assert [params["state"] for _, params in setup.editor.notified] == ["loading", "ready"]


@pytest.mark.asyncio
async def test_the_model_is_loaded_once_for_the_first_file_that_it_completes(setup: Setup) -> None:
    session = setup.begin({"model": "m", "languages": {"rust": False}}, experimental={"threadrunner": {"status": True}})
    for uri, language in [("untitled:1", "python"), ("file:///work/.env", "python"), ("file:///work/a.rs", "rust")]:
        setup.open(uri, language=language)
    setup.open("file:///work/a.py")
    setup.open("file:///work/b.py")
    sent = await setup.daemon.sent()
    sent.answer.set_result({})
    await until(lambda: session.state == "ready")
    assert [(request.method, request.params) for request in setup.daemon.requests] == [("models.load", {"model": "m"})]
    assert setup.editor.notified == [("threadrunner/status", {"state": "ready", "message": ""})]
    session.configure({"model": "another", "trigger": "manual"})
    setup.open("file:///work/c.py")
    session.configure({"model": "another"})
    assert (await setup.daemon.sent(2)).params == {"model": "another"}, "for the files that are open"
    setup.open("file:///work/d.py")
    assert len(setup.daemon.requests) == 2
    await session.end()


@pytest.mark.asyncio
async def test_other_settings_and_closing_end_the_request_under_way(setup: Setup) -> None:
    session = setup.begin({"trigger": "manual"})
    setup.open("file:///work/a.py")
    suggesting = asyncio.create_task(session.suggester.suggest(ask(session)))
    first = await setup.daemon.sent(1)
    session.configure({"trigger": "manual", "debounceMs": 0, "model": "another"})
    assert await suggesting == [] and first.cancelled
    suggesting = asyncio.create_task(session.suggester.suggest(ask(session)))
    second = await setup.daemon.sent(2)
    assert second.params["model"] == "another"
    session.closed("file:///work/a.py")
    assert await suggesting == []
    await until(lambda: second.cancelled)
    assert session.figures.superseded == 1


@pytest.mark.asyncio
async def test_the_clients_settings_replace_those_of_initialize_if_it_has_any(setup: Setup) -> None:
    session = setup.begin({"maxTokens": 7})
    await session.fetch_settings()
    assert setup.editor.asked == [], "it has not said that it answers"
    session.client = replace(session.client, configuration=True)
    for reply in (None, [None], [{"maxTokens": None}]):
        setup.editor.replies["workspace/configuration"] = reply
        await session.fetch_settings()
        assert session.settings.max_tokens == 7
    setup.editor.replies["workspace/configuration"] = [{"maxTokens": 9}]
    await session.fetch_settings()
    assert session.settings.max_tokens == 9


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "model"), [({}, None), ({"model": "m"}, "m"), ({"model": "m", "chatModel": "c"}, "c")]
)
async def test_the_chat_model_generates(setup: Setup, settings: dict[str, Any], model: str | None) -> None:
    session = setup.begin({**settings, "backend": "dummy"})
    messages = [{"role": "user", "content": "hi"}]
    heard: list[str] = []
    answering = asyncio.create_task(session.generate(messages, {"seed": 1}, lambda name, payload: heard.append(name)))
    sent = await setup.daemon.sent(1)
    sent.speak("yes")
    sent.end("yes")
    assert (await answering)["text"] == "yes" and heard == ["token"]
    expected = {"messages": messages, "priority": "interactive", "stream": True, "backend": "dummy", "seed": 1}
    assert sent.params == expected | ({"model": model} if model else {})
    answering = asyncio.create_task(session.generate(messages, {}))
    sent = await setup.daemon.sent(2)
    sent.end("yes")
    await answering
    assert sent.params["stream"] is False


@pytest.mark.asyncio
async def test_no_daemon_is_started_for_its_status(setup: Setup) -> None:
    setup.daemon.connected = False
    assert await setup.session.daemon_status() is None
    setup.daemon.connected = True
    asking = asyncio.create_task(setup.session.daemon_status())
    (await setup.daemon.sent()).answer.set_result({"pid": 1})
    assert await asking == {"pid": 1}
    asking = asyncio.create_task(setup.session.daemon_status())
    (await setup.daemon.sent(2)).answer.set_exception(Overloaded("busy"))
    assert await asking == {"error": "busy"}


@pytest.mark.asyncio
async def test_the_end_cancels_counts_and_hangs_up(setup: Setup) -> None:
    session = setup.begin()
    setup.open("file:///work/a.py")
    load = await setup.daemon.sent(1)
    suggesting = asyncio.create_task(session.suggester.suggest(ask(session)))
    infill = await setup.daemon.sent(2)
    session.counters.shown("id", "python")
    await session.end()
    assert await suggesting == []
    assert load.cancelled and infill.cancelled and setup.daemon.closed
    assert setup.file.read_text() == '{"day": "2026-01-02", "language": "python", "shown": 1}\n'
