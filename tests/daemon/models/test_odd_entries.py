"""One odd entry in a folder hides no other: it is left out, said once, or usable by the name that is shown."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import python_path
from tests.daemon.gguf.ggufs import made
from tests.support import Daemon, running
from threadrunner.api.errors import ModelNotFound
from threadrunner.daemon.gguf.names import meant, printable
from threadrunner.daemon.models import catalog, folders, inventory
from threadrunner.daemon.models.inventory import ListingContext

NO_UTF8 = os.fsdecode(b"caf\xe9.gguf")
TWO_LINES = "two\nlines.gguf"


class TestPrintable:
    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("plain.gguf", "plain.gguf"),
            ("größe 7B モデル.gguf", "größe 7B モデル.gguf"),
            ("back\\slash.gguf", "back\\slash.gguf"),
            (NO_UTF8, "caf\\xe9.gguf"),
            (TWO_LINES, "two\\u000alines.gguf"),
            ("\x1b[31mred", "\\u001b[31mred"),
            ("\\x41\x00", "\\\\x41\\u0000"),
        ],
    )
    def test_there_and_back(self, name: str, shown: str) -> None:
        assert printable(name) == shown
        assert meant(shown) == name
        assert shown.encode().decode().splitlines() == [shown]

    def test_every_byte_comes_back(self) -> None:
        name = os.fsdecode(bytes(range(1, 256)))
        assert meant(printable(name)) == name


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    """A models folder with everything in it that is not a model, and one that is."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "good.gguf").write_bytes(made())
    (models / "loop.gguf").symlink_to("loop.gguf")
    (models / "gone.gguf").symlink_to("nowhere")
    (models / "folder.gguf").mkdir()
    os.mkfifo(models / "pipe.gguf")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(models / "s.gguf"))
    (models / "owner").mkdir()
    (models / "owner" / "loop").symlink_to("loop")
    (models / "owner" / "repo").mkdir()
    (models / "owner" / "repo" / "hub.gguf").write_bytes(made())
    yield models


def names(models: Path) -> list[str]:
    return [model.name for model in catalog.every(str(models)) if not model.keeper]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(folders, "_said", set())


def test_only_the_odd_ones_are_left_out(odd: Path) -> None:
    assert names(odd) == ["smollm2:135m", "good.gguf", "hf:owner/repo:hub.gguf"]
    assert catalog.resolve("good", str(odd)).present


def test_of_a_fetch_under_way_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".pull-0123-m.gguf").mkdir()
    assert folders.models_in(str(tmp_path)) == []
    assert caplog.messages == []


def test_each_is_said_once(odd: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            names(odd)
    said = [record.message for record in caplog.records]
    for entry, why in [
        ("loop.gguf", "Too many levels"),
        ("gone.gguf", "a link to a file that is gone"),
        ("folder.gguf", "it is a folder"),
        ("pipe.gguf", "it is a named pipe"),
        ("s.gguf", "it is a socket"),
        ("owner/loop", "Too many levels"),
    ]:
        assert len([line for line in said if line.startswith(f"{odd}/{entry} ") and why in line]) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone", "it is a link to .*/nowhere, which does not exist"),
        ("loop.gguf", "Too many levels of symbolic links"),
        ("pipe.gguf", "it is a folder, a pipe or the like"),
        ("{odd}/folder.gguf", "it is a folder, a pipe or the like"),
        ("{odd}/gone.gguf", "which does not exist"),
    ],
)
def test_one_that_is_named_is_told_what_it_is(odd: Path, name: str, says: str) -> None:
    with pytest.raises(ModelNotFound, match=says):
        catalog.resolve(name.format(odd=odd), str(odd))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_folder_that_cannot_be_listed(odd: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    scandir = os.scandir

    def failing(folder: str) -> object:
        if os.path.basename(folder) == "owner":
            raise error
        return scandir(folder)

    monkeypatch.setattr(folders.os, "scandir", failing)
    assert names(odd) == ["smollm2:135m", "good.gguf"]


def test_a_file_that_may_not_be_read_is_read_once_it_may(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state has not changed, only who may read it."""
    model, context = catalog.resolve("good", str(odd)), ListingContext(set(), "", {})
    opened = os.open

    def refused(path: str, *rest: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as denied:
        denied.setattr(os, "open", refused)
        assert "Permission denied" in str(inventory.shown(model, context).problem)
    assert opened is os.open
    assert inventory.shown(model, context).problem is None


@pytest.fixture
def trouble(plugin: Path, tmp_path: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin), HOME=str(tmp_path))


@pytest.mark.parametrize("name", [NO_UTF8, TWO_LINES])
def test_a_name_that_no_terminal_shows_can_be_used(trouble: Daemon, name: str) -> None:
    (trouble.home / "models" / name).write_text("said the file")
    (trouble.home / "models" / "other.gguf").write_text("another")
    wire, shown = trouble.wire(), printable(name)
    listed = {model["name"] for model in wire.call("models.list")["models"]}
    assert listed == {"smollm2:135m", "other.gguf", shown}
    path = f"{trouble.home}/models/{shown}"
    for used in (shown, shown.removesuffix(".gguf"), path):
        assert wire.call("generate", prompt="file", model=used)["text"] == "said the file"
    assert wire.call("models.show", model=shown)["path"] == path
    (status,) = wire.call("status")["models"]
    assert (status["name"], status["path"]) == (shown, path)
    assert wire.call("models.load", model=shown)["path"] == path
    wire.call("models.unload", model=path)
    assert trouble.workers() == []
    assert wire.call("models.remove", model=shown)["files"] == [path]
    assert os.listdir(trouble.home / "models") == ["other.gguf"]


def test_one_that_does_not_load_is_told_in_words(trouble: Daemon) -> None:
    (trouble.home / "models" / NO_UTF8).write_text("bad")
    wire = trouble.wire()
    assert "is bad" in wire.fail("generate", prompt="file", model=printable(NO_UTF8))["message"]


def test_a_default_model_that_is_gone_hides_no_other(plugin: Path, tmp_path: Path) -> None:
    for daemon in running(
        THREADRUNNER_BACKEND="trouble",
        PYTHONPATH=python_path(plugin),
        THREADRUNNER_MODEL="gone.gguf",
        HOME=str(tmp_path),
    ):
        (daemon.home / "models" / "good.gguf").write_text("said the file")
        (daemon.home / "models" / "gone.gguf").symlink_to("gone.gguf")
        wire = daemon.wire()
        assert wire.call("generate", prompt="file", model="good")["text"] == "said the file"
        assert wire.call("status")["models"]
        assert len(wire.call("models.list")["models"]) == 2
        assert wire.call("models.show", model="good")["loaded"]
        wire.call("models.unload", model="good")
