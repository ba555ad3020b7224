"""What is fetched or copied lands in the models folder, and no file outside of it is written or removed."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.daemon.gguf.ggufs import made
from threadrunner.api.errors import FetchFailed, ModelLoadFailed
from threadrunner.daemon.downloads import downloads, hub_process, staging
from threadrunner.daemon.downloads.downloads import Downloads
from threadrunner.daemon.models import catalog


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("mine")
    return tmp_path / "elsewhere"


def quiet(done: int, total: int) -> None: ...


def copied(source: Path, models: Path) -> str:
    return asyncio.run(Downloads().copy(str(source), str(models), quiet)).path


def test_nothing_is_fetched_through_a_link_that_leads_out(models: Path, elsewhere: Path) -> None:
    (models / "owner").symlink_to(elsewhere)
    model = catalog.resolve("hf:owner/repo", str(models))
    with pytest.raises(FetchFailed, match="nothing is written there") as caught:
        asyncio.run(downloads.pull(model, quiet))
    assert caught.value.facts["reason"] == "disk"
    assert [file.name for file in elsewhere.iterdir()] == ["precious"]


def test_the_models_folder_may_be_a_link(models: Path) -> None:
    link = models.parent / "linked"
    link.symlink_to(models)
    staging.check_inside(link / "owner" / "repo", link)


def test_a_fetch_does_not_go_on_in_a_folder_that_is_a_link(models: Path, elsewhere: Path) -> None:
    (models / ".pull-x").symlink_to(elsewhere)
    with staging.resumable(models, "x") as work:
        (work / "file").touch()
    assert [file.name for file in elsewhere.iterdir()] == ["precious"]


def test_a_leftover_that_is_a_link_is_left_alone(models: Path, elsewhere: Path) -> None:
    (models / ".pull-x").symlink_to(elsewhere)
    long_ago = time.time() - staging.STALE - 1
    for path in (elsewhere / "precious", elsewhere):
        os.utime(path, (long_ago, long_ago))
    staging.sweep(models)
    assert (elsewhere / "precious").exists()


def test_what_arrives_is_not_written_through_a_link(models: Path, elsewhere: Path) -> None:
    (models / "m.gguf").symlink_to(elsewhere / "precious")
    with pytest.raises(OSError, match="symbolic"), open(models / "m.gguf", "wb", opener=hub_process._no_link):
        pass
    assert (elsewhere / "precious").read_text() == "mine"


def test_a_commit_is_never_a_path(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "repo" / ".pull-").mkdir(parents=True)
    asked = hub_process.Wanted("owner/repo", "/../../../..", [hub_process.File("m.gguf", 1, "")])
    monkeypatch.setattr(hub_process, "ask", lambda *_: asked)
    monkeypatch.setattr(hub_process.Transfer, "run", lambda _: (_ for _ in ()).throw(FetchFailed("enough")))
    with pytest.raises(FetchFailed, match="enough"):
        hub_process.fetch("owner/repo", "", models / "repo")
    assert sorted(left.name for left in (models / "repo").iterdir()) == [".pull-", ".pull--m.gguf"]


@pytest.mark.parametrize("name", ["../../m.gguf", "/etc/m.gguf", "folder/m.gguf"])
def test_a_hubs_file_name_is_never_a_path(name: str) -> None:
    assert hub_process.File(name, 1, "").local_name == "m.gguf"


class TestCopy:
    def test_a_link_that_leads_nowhere_is_not_replaced(self, models: Path, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_bytes(made())
        (models / "m.gguf").symlink_to(tmp_path / "gone")
        with pytest.raises(ModelLoadFailed, match=r"has a file m\.gguf already"):
            copied(tmp_path / "m.gguf", models)
        assert os.readlink(models / "m.gguf") == str(tmp_path / "gone")

    @pytest.mark.parametrize("hard_links", [True, False])
    def test_one_that_came_meanwhile_is_kept(
        self, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
    ) -> None:
        (tmp_path / "m.gguf").write_bytes(made())
        settle = staging.settle

        def late(path: Path, sha256: str) -> None:
            settle(path, sha256)
            (models / "m.gguf").write_text("another")

        def no_links(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(staging, "settle", late)
        if not hard_links:
            monkeypatch.setattr(staging.os, "link", no_links)
        with pytest.raises(ModelLoadFailed, match=r"has a file m\.gguf already"):
            copied(tmp_path / "m.gguf", models)
        assert (models / "m.gguf").read_text() == "another"

    def test_without_hard_links_it_is_renamed(
        self, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_links(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        (tmp_path / "m.gguf").write_bytes(made())
        monkeypatch.setattr(staging.os, "link", no_links)
        assert Path(copied(tmp_path / "m.gguf", models)).read_bytes() == made()

    def test_a_name_that_is_not_utf_8(self, models: Path, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9.gguf")
        (tmp_path / name).write_bytes(made())
        assert copied(tmp_path / name, models) == str(models / name)
