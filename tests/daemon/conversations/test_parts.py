"""Calls, results, thinking and tools in the file: kept, found, copied, brought in, and from older files on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import UNSET

from threadrunner.api.chat import FunctionCall, FunctionDefinition, Tool, ToolCall
from threadrunner.api.conversations import ImportedTurn, SessionImportParams, ToolResult
from threadrunner.api.errors import InvalidParams, StorageFailed
from threadrunner.daemon.conversations import schema, sessions, turns
from threadrunner.daemon.conversations.store import Store
from threadrunner.daemon.conversations.turns import Outcome, SessionUpdate

PORTO = ToolCall("c1", FunctionCall("weather", '{"city": "Porto", "days": [{"name": "sábado"}]}'))
RESULT = ToolResult("c1", "24 degrees\nand a breeze")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "sessions.db"))
    yield store
    store.close()


def add(store: Store, prompt: str, answer: str = "", *results: ToolResult, **outcome: object) -> None:
    begun = turns.open_turn(store, "trip", prompt, SessionUpdate(), results=results)
    turns.finish(store, begun.turn, Outcome("done", answer)._replace(**outcome))


@pytest.fixture
def round_of_calls(store: Store) -> Store:
    add(store, "how warm is it?", calls=[PORTO], reasoning="they mean Porto", reasoning_tokens=3)
    add(store, "", "24 degrees", RESULT)
    return store


def test_they_are_shown_as_what_they_are(round_of_calls: Store) -> None:
    first, second = sessions.show(round_of_calls, "trip", 0, None).turns
    assert (first.prompt, first.answer, first.tool_calls) == ("how warm is it?", "", [PORTO])
    assert (first.reasoning, first.reasoning_tokens, first.tool_results) == ("they mean Porto", 3, UNSET)
    assert (second.prompt, second.answer, second.tool_results) == ("", "24 degrees", [RESULT])


@pytest.mark.parametrize("words", ["breeze", "weather porto", "sabado", "how", "degrees"])
def test_a_search_finds_calls_and_results(round_of_calls: Store, words: str) -> None:
    assert sessions.search(round_of_calls, words, None, 5)


@pytest.mark.parametrize("words", ["they", "tool_call_id", "content", "function"])
def test_a_search_finds_neither_thinking_nor_the_files_own_words(round_of_calls: Store, words: str) -> None:
    assert sessions.search(round_of_calls, words, None, 5) == []


def test_undo_opens_the_call_again(round_of_calls: Store) -> None:
    with pytest.raises(InvalidParams, match="no call waits"):
        add(round_of_calls, "", "x", RESULT)
    sessions.undo(round_of_calls, "trip", 1)
    assert sessions.search(round_of_calls, "breeze", None, 5) == []
    add(round_of_calls, "", "warm", RESULT)
    assert len(sessions.show(round_of_calls, "trip", 0, None).turns) == 2


def test_results_that_replace_a_turn_answer_the_call_before_it(round_of_calls: Store) -> None:
    begun = turns.open_turn(round_of_calls, "trip", "", SessionUpdate(), 1, [RESULT])
    turns.finish(round_of_calls, begun.turn, Outcome("done", "again"))
    assert [turn.answer for turn in sessions.show(round_of_calls, "trip", 0, None).turns] == ["", "again"]
    with pytest.raises(InvalidParams, match="no call waits"):
        turns.open_turn(round_of_calls, "trip", "", SessionUpdate(), 2, [RESULT])
    assert len(sessions.show(round_of_calls, "trip", 0, None).turns) == 2  # what was refused has deleted nothing


def test_a_conversation_is_not_begun_by_a_result(store: Store) -> None:
    with pytest.raises(InvalidParams, match="no call waits"):
        add(store, "", "x", RESULT)
    assert sessions.info(store, "trip") is None


def test_a_fork_has_all_of_it(round_of_calls: Store) -> None:
    tools = [Tool(FunctionDefinition("weather", parameters={"type": "object"}))]
    begun = turns.open_turn(round_of_calls, "trip", "more", SessionUpdate(tools=tools))
    turns.finish(round_of_calls, begun.turn, Outcome("done", "yes"))
    sessions.fork(round_of_calls, "trip", "other", None)
    shown = [sessions.show(round_of_calls, name, 0, None) for name in ("trip", "other")]
    assert shown[0].turns == shown[1].turns
    assert shown[0].session.tools == shown[1].session.tools == tools
    assert {hit.session for hit in sessions.search(round_of_calls, "breeze", None, 5)} == {"trip", "other"}
    assert all(info.tools is UNSET for info in sessions.listing(round_of_calls, 9, 0).sessions)


def test_tools_are_remembered_until_there_are_none(store: Store) -> None:
    tools = [Tool(FunctionDefinition("weather"))]
    remembered = []
    for update in (SessionUpdate(tools=tools), SessionUpdate(), SessionUpdate(tools=[]), SessionUpdate()):
        turns.finish(store, turns.open_turn(store, "s", "x", update).turn, Outcome("done", "y"))
        info = sessions.info(store, "s")
        remembered.append(info and info.tools)
    assert remembered == [tools, tools, UNSET, UNSET]


def test_a_call_that_was_broken_off_is_kept_and_waits_for_nothing(store: Store) -> None:
    cut = ToolCall("c9", FunctionCall("weather", '{"city": "Po'))
    add(store, "how warm?", "let me see", calls=[PORTO, cut], state="stopped")
    assert sessions.show(store, "trip", 0, None).turns[0].tool_calls == [PORTO, cut]
    with pytest.raises(InvalidParams, match="no call waits"):
        add(store, "", "x", RESULT)


def test_an_import_keeps_them(store: Store) -> None:
    given = ToolCall("c1", FunctionCall("weather", {"city": "Porto"}))
    imported = [
        ImportedTurn("how warm?", tool_calls=[given], reasoning="hm"),
        ImportedTurn("", "24", tool_results=[RESULT]),
    ]
    sessions.import_session(store, SessionImportParams(name="i", turns=imported))
    first, second = sessions.show(store, "i", 0, None).turns
    assert isinstance(first.tool_calls, list) and first.tool_calls[0].function.arguments == '{"city": "Porto"}'
    assert (first.state, first.reasoning, second.tool_results) == ("done", "hm", [RESULT])
    assert sessions.search(store, "breeze", "i", 5)


def test_a_file_of_before_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "sessions.db")
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        old = schema.connect(path)
        old.execute("INSERT INTO sessions (name, created, used) VALUES ('s', 1, 1)")
        for answer in ("a sunny day", "rain"):
            old.execute(
                "INSERT INTO turns (session, prompt, answer, state, began) VALUES (1, 'how?', ?, 'done', 1)", (answer,)
            )
        old.execute("DELETE FROM turns WHERE answer = 'rain'")
        old.close()
    store = Store(path)
    assert [turn.answer for turn in sessions.show(store, "s", 0, None).turns] == ["a sunny day"]
    assert [hit.snippet for hit in sessions.search(store, "sunny", None, 5)] == ["a [sunny] day"]
    begun = turns.open_turn(store, "s", "and now?", SessionUpdate())
    turns.finish(store, begun.turn, Outcome("done", "", calls=[PORTO]))
    assert sessions.search(store, "porto", None, 5)
    store.close()
    # The index agrees with the rows; this is an error where it does not.
    with sqlite3.connect(path) as look:
        look.execute("INSERT INTO turn_words (turn_words, rank) VALUES ('integrity-check', 1)")
    look.close()
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        with pytest.raises(StorageFailed, match=r"newer threadrunner \(format 4, ours is 2\)"):
            Store(path)
