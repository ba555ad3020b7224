"""The file of a running daemon is moved, replaced, deleted, damaged; and two daemons have one file."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import python_path
from tests.support import Daemon, running
from threadrunner.api.errors import StorageFailed
from threadrunner.daemon.conversations import sessions, turns
from threadrunner.daemon.conversations.store import Store
from threadrunner.daemon.conversations.turns import SessionUpdate


@pytest.fixture
def own() -> Iterator[Daemon]:
    yield from running()


@pytest.fixture
def slow(plugin: Path) -> Iterator[Daemon]:
    """One whose turns can be made to last."""
    yield from running(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))


def neighbour(daemon: Daemon) -> Iterator[Daemon]:
    """A second daemon, with the first one's home."""
    home = {name: daemon.env[name] for name in ("THREADRUNNER_HOME", "THREADRUNNER_BACKEND")}
    yield from running(**home, PYTHONPATH=daemon.env.get("PYTHONPATH", ""))


def prompts(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [prompt for (prompt,) in db.execute("SELECT prompt FROM turns ORDER BY id")]


def test_a_file_that_is_moved_away_is_complete_and_a_new_one_is_begun(own: Daemon) -> None:
    wire, path = own.wire(), own.home / "sessions.db"
    wire.call("generate", prompt="one", session="trip")
    path.rename(own.home / "away.db")
    wire.call("generate", prompt="two", session="trip")
    wire.call("memory.add", text="keep this")
    assert prompts(own.home / "away.db") == ["one"]
    assert prompts(path) == ["two"]
    own.kill()
    own.start()
    wire = own.wire()
    assert [turn["prompt"] for turn in wire.call("sessions.show", session="trip")["turns"]] == ["two"]
    assert [note["text"] for note in wire.call("memory.list")["notes"]] == ["keep this"]


def test_another_file_in_its_place_is_taken_as_it_is(own: Daemon, tmp_path: Path) -> None:
    wire, path = own.wire(), own.home / "sessions.db"
    wire.call("generate", prompt="saved", session="a")
    with contextlib.closing(sqlite3.connect(path)) as db, contextlib.closing(sqlite3.connect(tmp_path / "copy")) as to:
        db.backup(to)
    wire.call("generate", prompt="regretted", session="a")
    os.replace(shutil.copy(tmp_path / "copy", own.home / "copy"), path)
    assert [turn["prompt"] for turn in wire.call("sessions.show", session="a")["turns"]] == ["saved"]
    wire.call("generate", prompt="and on", session="a")
    own.kill()
    assert prompts(path) == ["saved", "and on"]


@pytest.mark.parametrize("gone", ["sessions.db", "sessions.db-wal", "sessions.db-shm"])
def test_a_file_that_is_deleted_takes_nothing_that_comes_after_it(own: Daemon, gone: str) -> None:
    wire = own.wire()
    wire.call("generate", prompt="one", session="s")
    (own.home / gone).unlink()
    wire.call("generate", prompt="two", session="s")
    own.kill()
    assert prompts(own.home / "sessions.db")[-1] == "two"


def test_a_folder_that_is_deleted_is_made_again(own: Daemon) -> None:
    wire = own.wire()
    wire.call("generate", prompt="one", session="s")
    for file in own.home.glob("sessions.db*"):
        file.unlink()
    wire.call("memory.add", text="x")
    assert (own.home / "sessions.db").exists()


def test_a_turn_whose_file_goes_says_that_it_is_not_kept(slow: Daemon) -> None:
    wire, other, path = slow.wire(), slow.wire(), slow.home / "sessions.db"
    id = wire.begin("generate", prompt="drip", session="s", timeout=3)
    while wire.read().get("method") != "token":
        pass
    path.unlink()
    other.call("memory.add", text="in the new file")
    other.call("generate", prompt="count", session="first of the new file")
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
    wire.until(id)
    second = wire.begin("generate", prompt="wide 1", session="t")
    assert "result" in wire.until(second)[0]
    shown = other.call("sessions.show", session="first of the new file")["turns"]
    assert [(turn["prompt"], turn["state"]) for turn in shown] == [("count", "done")]  # not that turn's end
    assert "was moved or replaced" in slow.log


def test_an_answer_that_is_not_kept_is_an_error(slow: Daemon) -> None:
    wire, other = slow.wire(), slow.wire()
    id = wire.begin("generate", prompt="wide 4000", session="s")
    while wire.read().get("method") != "token":
        pass
    (slow.home / "sessions.db").unlink()
    other.call("memory.list")
    error = wire.until(id)[0]["error"]
    assert (error["data"]["kind"], "not kept" in error["message"]) == ("StorageFailed", True)


def test_a_damaged_file_says_what_to_do_and_that_helps_at_once(own: Daemon) -> None:
    wire, path = own.wire(), own.home / "sessions.db"
    wire.call("generate", prompt="one", session="s")
    own.kill()
    (own.home / "sessions.db-wal").unlink()  # from which SQLite would mend it
    path.write_bytes(b"no database, but long enough to be taken for one" * 100)
    own.start()
    wire = own.wire()
    assert "move it away" in wire.fail("generate", prompt="two", session="s")["message"]
    assert wire.call("generate", prompt="without one", max_tokens=1)["text"] == "lorem"
    for file in own.home.glob("sessions.db*"):
        file.unlink()
    assert wire.call("generate", prompt="two", session="s")["session"] == "s"


@pytest.mark.parametrize("make", ["mkdir", "mkfifo", "symlink"])
def test_what_is_no_file_is_refused_and_plain_prompts_go_on(own: Daemon, make: str) -> None:
    path = own.home / "sessions.db"
    {"mkdir": os.mkdir, "mkfifo": os.mkfifo, "symlink": lambda to: os.symlink("/dev/null", to)}[make](path)
    wire = own.wire()
    error = wire.fail("generate", prompt="x", session="s")
    assert (error["data"]["kind"], str(path) in error["message"]) == ("StorageFailed", True)
    assert wire.call("generate", prompt="x", max_tokens=1)["text"] == "lorem"


def test_a_file_that_is_locked_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadrunner.daemon.conversations.schema.BUSY_SECONDS", 0)
    store = Store(str(tmp_path / "sessions.db"))
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailed, match="another program keeps it locked"):
            turns.open_turn(store, "a", "x", SessionUpdate())
    store.close()


def test_a_running_turn_is_not_lost_to_another_daemon_and_its_conversation_waits(slow: Daemon) -> None:
    first = slow.wire()
    id = first.begin("generate", prompt="drip", session="s")
    while first.read().get("method") != "token":
        pass
    for second in neighbour(slow):
        other = second.wire()
        assert [turn["state"] for turn in other.call("sessions.show", session="s")["turns"]] == ["open"]
        assert other.call("generate", prompt="count", session="elsewhere")["session"] == "elsewhere"
        waiting = other.begin("generate", prompt="wide 1", session="s")
        other.call("status")
        first.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
        first.until(id)
        assert "result" in other.until(waiting)[0]
        shown = first.call("sessions.show", session="s")["turns"]
        assert [(turn["prompt"], turn["state"]) for turn in shown] == [("drip", "stopped"), ("wide 1", "done")]


def test_the_turn_of_a_daemon_that_is_killed_is_lost_at_once(slow: Daemon) -> None:
    for second in neighbour(slow):
        other = second.wire()
        other.begin("generate", prompt="drip", session="s")
        while other.read().get("method") != "token":
            pass
        wire = slow.wire()
        assert [turn["state"] for turn in wire.call("sessions.show", session="s")["turns"]] == ["open"]
        second.kill()
        assert [turn["state"] for turn in wire.call("sessions.show", session="s")["turns"]] == ["lost"]


def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path / "sessions.db"))
    for name, now in (("a", 5e9), ("b", 1e9), ("c", 2e9)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        turns.open_turn(store, name, "x", SessionUpdate())
    assert [info.name for info in sessions.listing(store, 10, 0).sessions] == ["c", "b", "a"]
    assert turns.open_turn(store, "@last", "x", SessionUpdate()).name == "c"
    store.close()
