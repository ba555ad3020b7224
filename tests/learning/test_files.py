"""Files that several processes change: nothing is lost, and what is broken is set aside."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from threadrunner.learning import corrections, files, kept


def more(told: dict[str, Any] | None) -> dict[str, Any]:
    return {"count": (told or {"count": 0})["count"] + 1}


def test_changes_at_once_are_all_there(tmp_path: Path) -> None:
    path = str(tmp_path / "learned" / "x.json")
    writers = [threading.Thread(target=lambda: [files.change(path, more) for _ in range(20)]) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert files.read(path) == {"count": 80}
    assert sorted(os.listdir(tmp_path / "learned")) == ["lock", "x.json"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1]", b"\xff\xfe\x00", b"[" * 100_000, b"1" * 5000, b'{"a": "' + b"x" * (1 << 20) + b'"}']
)
def test_a_broken_file_is_set_aside(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    assert files.change(str(path), more) == {"count": 1}
    assert (tmp_path / "x.json.broken").read_bytes() == data


def test_a_failure_of_the_disk_sets_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"Is a directory|Permission denied"):
        files.change(str(path), more)
    assert path.is_dir()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.change(str(path), more)
    (tmp_path / f"x.json.{os.getpid()}.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        files.change(str(path), more)
    assert files.read(str(path)) == {"count": 1}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path))
    monkeypatch.delenv("THREADRUNNER_LEARN", raising=False)
    return tmp_path


def test_corrections_are_counted_by_model_and_mode(home: Path) -> None:
    for kind in ("answers", "answers", "retried"):
        corrections.count("small", None, kind)
    corrections.count("small", "code", "edited")
    assert corrections.known()["small"]["-"] == Counter(answers=2, retried=1, edited=0, undone=0)
    assert corrections.known()["small"]["code"]["edited"] == 1


def test_off_by_one_setting(home: Path) -> None:
    (home / "config.toml").write_text("learn = false\n")
    corrections.count("small", None, "answers")
    assert not (home / "learned").exists()


def test_only_the_latest_models_are_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections, "MODELS", 3)
    for name in ("a", "b", "c", "a", "d"):
        corrections.count(name, None, "answers")
    assert list(corrections.known()) == ["c", "a", "d"]


@pytest.mark.parametrize("told", [{"version": 0, "models": {}}, {"version": 1, "models": {"a": 3}}, {"version": 1}])
def test_counts_of_another_version_are_set_aside(home: Path, told: dict[str, Any]) -> None:
    path = Path(corrections.path())
    path.parent.mkdir()
    path.write_text(json.dumps(told))
    assert corrections.known() == {}
    assert path.with_name("answers.json.broken").exists()


def test_all_of_it_can_be_deleted(home: Path) -> None:
    assert kept.delete() == 0
    corrections.count("small", None, "answers")
    snippets = home / "learned" / kept.SNIPPETS
    snippets.mkdir()
    (snippets / "a.json").write_text(json.dumps({"version": 1, "folder": "/work", "snippets": [{}]}))
    (home / "learned" / "habits.json.broken").write_text("{")
    found = kept.summary(True)
    assert [each["folder"] for each in found["snippets"]] == ["/work"] and found["answers"]
    assert kept.delete() == 3
    assert kept.summary(True) == {
        "on": True, "folder": str(home / "learned"), "suggestions": None, "snippets": [], "answers": {}
    }  # fmt: skip


def test_workspaces_that_were_left_long_ago_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "WORKSPACES", 2)
    (tmp_path / kept.SNIPPETS).mkdir()
    for age, name in enumerate("abcd"):
        path = tmp_path / kept.SNIPPETS / f"{name}.json"
        path.write_text("{}")
        os.utime(path, (1000 - age, 1000 - age))
    kept.prune(str(tmp_path))
    assert sorted(os.listdir(tmp_path / kept.SNIPPETS)) == ["a.json", "b.json"]
