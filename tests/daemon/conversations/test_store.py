"""The file: what it keeps, how it grows from version to version, what it refuses."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from threadrunner.api.conversations import ImportedTurn, SessionImportParams, slug
from threadrunner.api.errors import InvalidParams, SessionNotFound, StorageFailed
from threadrunner.daemon.conversations import schema, sessions, turns
from threadrunner.daemon.conversations.sessions import match
from threadrunner.daemon.conversations.store import Store
from threadrunner.daemon.conversations.turns import Outcome, SessionUpdate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(str(path))
    yield store
    store.close()


def add(store: Store, name: str, prompt: str, answer: str | None = "yes", **wish: object) -> str:
    begun = turns.open_turn(store, name, prompt, SessionUpdate(**wish))  # type: ignore[arg-type]
    if answer is not None:
        turns.finish(store, begun.turn, Outcome("done", answer, "m", None, 3, 4))
    return begun.name


def test_only_we_can_read_it(store: Store, path: Path) -> None:
    add(store, "a", "x")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_it_is_in_wal_mode_with_full_syncs_and_foreign_keys(store: Store) -> None:
    asked = {name: store._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert asked == {"journal_mode": "wal", "synchronous": 2}
    assert store._db.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_a_turn_is_there_for_others_before_its_answer_is(store: Store, path: Path) -> None:
    turns.open_turn(store, "a", "is this kept?", SessionUpdate())
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT prompt, state FROM turns").fetchall() == [("is this kept?", "open")]
    other.close()


def test_what_a_killed_daemon_was_saying_is_lost_and_says_so(store: Store, path: Path) -> None:
    add(store, "a", "one")
    turns.open_turn(store, "a", "two", SessionUpdate())
    store.close()
    store = Store(str(path))
    turns.mark_lost(store)
    after = sessions.show(store, "a", 0, None).turns
    store.close()
    assert [(turn.prompt, turn.state) for turn in after] == [("one", "done"), ("two", "lost")]


def test_a_conversation_remembers_and_is_changed_by_what_is_said_again(store: Store) -> None:
    add(store, "a", "x", model="m1", system="be brief", params={"temperature": 0.5})
    add(store, "a", "x", model="m2", params={"top_k": 3})
    info = sessions.info(store, "a")
    assert info is not None
    assert (info.model, info.system, info.params, info.turns) == ("m2", "be brief", {"temperature": 0.5, "top_k": 3}, 2)
    add(store, "a", "x", system="")
    assert sessions.info(store, "a").system is None  # type: ignore[union-attr]


def test_the_last_used_one_and_a_new_one(store: Store) -> None:
    with pytest.raises(SessionNotFound, match="no conversation yet"):
        turns.open_turn(store, "@last", "x", SessionUpdate())
    add(store, "a", "x")
    add(store, "b", "x")
    add(store, "a", "x")
    assert add(store, "@last", "y") == "a"
    assert add(store, "@new", "Why is the Sky blue?") == "why-is-the-sky-blue"
    assert add(store, "@new", "why is the sky blue") == "why-is-the-sky-blue-2"
    assert add(store, "@new", "?!") == "conversation"


@pytest.mark.parametrize("name", ["-a", "@b", " a", "a\n", "a\x00b"])
def test_names_that_cannot_be_told_apart_are_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidParams, match="cannot name a conversation"):
        turns.open_turn(store, name, "x", SessionUpdate())
    assert sessions.listing(store, 10, 0).total == 0


def test_rename_fork_undo_delete(store: Store) -> None:
    for prompt in ("one", "two", "three"):
        add(store, "a", prompt, system="s")
    assert sessions.rename(store, "a", "b").name == "b"
    fork = sessions.fork(store, "b", None, 2)
    assert (fork.name, fork.turns, fork.forked_from, fork.system) == ("b-2", 2, "b", "s")
    assert sessions.undo(store, "b-2", 1).prompts == ["two"]
    with pytest.raises(InvalidParams, match="already"):
        sessions.rename(store, "b", "b-2")
    with pytest.raises(InvalidParams, match="already"):
        sessions.fork(store, "b", "b-2", None)
    assert sessions.delete(store, "b") == "b"
    with pytest.raises(SessionNotFound, match="sessions list"):
        sessions.show(store, "b", 0, None)
    assert [info.name for info in sessions.listing(store, 10, 0).sessions] == ["b-2"]


def test_a_window_that_has_lost_all_of_its_turns_begins_anew(store: Store) -> None:
    first, _, third, _ = (turns.open_turn(store, "a", prompt, SessionUpdate()) for prompt in "1234")
    turns.save_window(store, first.session, third.turn, 100)

    def begin() -> int:
        """Where the model's view begins, after an undo and for the next turn."""
        sessions.undo(store, "a", 1)
        history = turns.history(store, turns.open_turn(store, "a", "5", SessionUpdate()))
        assert history is not None
        return history.window_start

    assert begin() == third.turn
    sessions.undo(store, "a", 1)
    assert begin() == 0


def test_what_is_deleted_is_not_left_in_the_file(store: Store, path: Path) -> None:
    add(store, "a", "xyzzyplugh", "frobnicate")
    add(store, "b", "stays")
    sessions.delete(store, "a")
    bytes_left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"xyzzyplugh" not in bytes_left
    assert b"frobnicate" not in bytes_left
    assert b"stays" in bytes_left


def test_search_finds_prompts_and_answers_across_accents(store: Store) -> None:
    add(store, "a", "where is the café?", "in the old town")
    add(store, "b", "nothing", "the cafeteria")
    assert [hit.session for hit in sessions.search(store, "cafe", None, 10)] == ["a"]
    assert {hit.session for hit in sessions.search(store, "cafe*", None, 10)} == {"a", "b"}
    assert [hit.turn for hit in sessions.search(store, 'TOWN" OR', None, 10)] == []
    hit = sessions.search(store, "old town", None, 10)[0]
    assert (hit.snippet, hit.turn) == ("in the [old] [town]", 1)
    assert sessions.search(store, "cafe*", "b", 10)[0].session == "b"
    sessions.delete(store, "a")
    assert sessions.search(store, "town", None, 10) == []


@pytest.mark.parametrize("text", ["", "?!", "*"])
def test_a_search_without_words_is_refused(text: str) -> None:
    with pytest.raises(InvalidParams, match="no word"):
        match(text)


def test_words_are_never_the_searchs_own_language() -> None:
    assert match('NEAR(a b) AND col:"x" wor*') == '"NEAR" "a" "b" "AND" "col" "x" "wor"*'


def test_long_conversations_come_in_pages(store: Store) -> None:
    for number in range(5):
        add(store, "a", str(number), "x" * 400_000)
    first = sessions.show(store, "a", 0, None)
    assert first.more
    rest = sessions.show(store, "a", first.turns[-1].number, None)
    assert [turn.prompt for turn in [*first.turns, *rest.turns]][:4] == ["0", "1", "2", "3"]
    assert [turn.number for turn in sessions.show(store, "a", 0, 2).turns] == [4, 5]


def test_import_makes_or_appends(store: Store) -> None:
    turns = [ImportedTurn("q", "a"), ImportedTurn("unanswered")]
    info = sessions.import_session(store, SessionImportParams(name="i", turns=turns, system="sys"))
    assert (info.turns, info.system) == (2, "sys")
    with pytest.raises(InvalidParams, match="already"):
        sessions.import_session(store, SessionImportParams(name="i", turns=turns))
    assert sessions.import_session(store, SessionImportParams(name="i", turns=turns, append=True)).turns == 4
    assert [turn.state for turn in sessions.show(store, "i", 0, None).turns] == ["done", "lost", "done", "lost"]


def test_every_older_version_becomes_ours(tmp_path: Path) -> None:
    for version in range(len(schema.MIGRATIONS)):
        path = tmp_path / f"{version}.db"
        with sqlite3.connect(path, isolation_level=None) as old:
            for number, script in enumerate(schema.MIGRATIONS[:version], 1):
                for statement in schema.statements(script):
                    old.execute(statement)
                old.execute(f"PRAGMA user_version = {number}")
            if version:
                old.execute("INSERT INTO sessions (name, created, used) VALUES ('old', 1, 1)")
        old.close()
        store = Store(str(path))
        assert [info.name for info in sessions.listing(store, 10, 0).sessions] == (["old"] if version else [])
        assert add(store, "new", "x") == "new"
        store.close()


def test_a_newer_file_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 999")
    newer.close()
    with pytest.raises(StorageFailed, match="newer threadrunner"):
        Store(str(path))


def test_what_is_no_database_is_left_alone_and_said(path: Path) -> None:
    path.write_bytes(b"precious notes, no database" * 100)
    with pytest.raises(StorageFailed, match="move it away"):
        Store(str(path))
    assert path.read_bytes().startswith(b"precious")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_we_cannot_write_to_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageFailed, match="cannot open"):
        Store(str(tmp_path / "sessions.db"))


def test_a_full_disk_fails_one_turn_and_no_other(store: Store) -> None:
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageFailed, match="full"):
        turns.open_turn(store, "a", "x" * 1_000_000, SessionUpdate())
    store._db.execute("PRAGMA max_page_count = 1000000")
    assert add(store, "a", "x") == "a"
    assert sessions.listing(store, 10, 0).sessions[0].turns == 1


def test_slugs() -> None:
    assert slug("Où est la gare, s'il vous plaît ?") == "où-est-la-gare-s-il"
    assert len(slug("x" * 1000)) == 40
