"""Removing a model: its own files in the models folder go, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.daemon.gguf.ggufs import made
from threadrunner.api.errors import InvalidParams, ModelNotFound
from threadrunner.daemon.models import catalog, removal
from threadrunner.daemon.models.reference import ModelRef


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def put(path: Path, data: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made() if data is None else data)
    return path


def refused(path: Path, models: Path) -> None:
    """That path is refused by both, and is there afterwards."""
    for refuse in (removal.check_removable, removal.remove):
        with pytest.raises(InvalidParams, match="is not in"):
            refuse(ModelRef("m", str(path)), str(models))
    assert path.exists()


class TestOutside:
    def test_a_folder_that_begins_like_ours(self, models: Path) -> None:
        refused(put(models.parent / "models-backup" / "mine.gguf"), models)

    def test_a_way_around_by_dots(self, models: Path) -> None:
        put(models.parent / "mine.gguf")
        refused(models / ".." / "mine.gguf", models)

    def test_a_folder_in_ours_that_is_a_link(self, models: Path) -> None:
        elsewhere = put(models.parent / "disk" / "repo" / "mine.gguf").parent.parent
        (models / "owner").symlink_to(elsewhere)
        refused(models / "owner" / "repo" / "mine.gguf", models)

    def test_a_hubs_folder_that_is_a_link(self, models: Path) -> None:
        elsewhere = put(models.parent / "disk" / "repo" / "mine.gguf").parent.parent
        (models / "owner").symlink_to(elsewhere)
        model = catalog.resolve("hf:owner/repo", str(models))
        with pytest.raises(InvalidParams, match="is not in"):
            removal.remove(model, str(models))
        assert (elsewhere / "repo" / "mine.gguf").exists()

    def test_an_alias_that_leads_out(self, models: Path) -> None:
        outside = put(models.parent / "models-backup" / "mine.gguf")
        model = catalog.resolve("mine", str(models), {"mine": str(outside)})
        with pytest.raises(InvalidParams):
            removal.remove(model, str(models))
        assert outside.exists()

    def test_a_folder_that_is_exchanged_for_a_link_meanwhile(
        self, models: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the look and the act: the folder is opened without following links."""
        put(models / "owner" / "repo" / "mine.gguf")
        outside = put(models.parent / "disk" / "repo" / "mine.gguf")
        model = ModelRef("m", str(models / "owner" / "repo" / "mine.gguf"))
        really = removal._folders_to

        def exchanged(file: str, root: str) -> list[str]:
            names = really(file, root)
            (models / "owner").rename(models.parent / "moved")
            (models / "owner").symlink_to(models.parent / "disk")
            monkeypatch.setattr(removal, "_folders_to", really)
            return names

        monkeypatch.setattr(removal, "check_removable", lambda *_: None)
        monkeypatch.setattr(removal, "_folders_to", exchanged)
        with pytest.raises(InvalidParams, match="cannot be removed"):
            removal.remove(model, str(models))
        assert outside.exists()


class TestLinks:
    @pytest.mark.parametrize("absolute", [False, True])
    def test_only_the_link_goes_and_frees_nothing(self, models: Path, absolute: bool) -> None:
        target = put(models.parent / "elsewhere" / "big.gguf")
        (models / "m.gguf").symlink_to(target)
        model = catalog.resolve(str(models / "m.gguf") if absolute else "m", str(models))
        removed = removal.remove(model, str(models))
        assert (removed.files, removed.size_bytes) == ([str(models / "m.gguf")], 0)
        assert not os.path.lexists(models / "m.gguf")
        assert target.exists()

    def test_a_link_to_another_model_of_ours(self, models: Path) -> None:
        target = put(models / "real.gguf")
        (models / "m.gguf").symlink_to(target)
        removal.remove(catalog.resolve(str(models / "m.gguf"), str(models)), str(models))
        assert [file.name for file in models.iterdir()] == ["real.gguf"]

    def test_of_a_split_model_with_parts_elsewhere_those_stay(self, models: Path) -> None:
        first = put(models / "big-00001-of-00002.gguf", b"x" * 100)
        second = put(models.parent / "elsewhere" / "big-00002-of-00002.gguf")
        (models / second.name).symlink_to(second)
        removed = removal.remove(catalog.resolve(first.name, str(models)), str(models))
        assert len(removed.files) == 2
        assert removed.size_bytes == 100
        assert second.exists()
        assert list(models.iterdir()) == []

    def test_a_link_of_another_name_to_a_split_model(self, models: Path) -> None:
        parts = [put(models.parent / "elsewhere" / f"big-0000{number}-of-00002.gguf") for number in (1, 2)]
        (models / "big.gguf").symlink_to(parts[0])
        model = catalog.resolve("big", str(models))
        assert model.files == [str(part) for part in parts]
        assert removal.remove(model, str(models)).files == [str(models / "big.gguf")]
        assert all(part.exists() for part in parts)

    def test_another_hard_link_keeps_the_bytes(self, models: Path) -> None:
        file = put(models / "m.gguf")
        os.link(file, models.parent / "other.gguf")
        assert removal.remove(ModelRef("m", str(file)), str(models)).size_bytes == 0

    def test_the_models_folder_may_be_a_link(self, models: Path) -> None:
        link = models.parent / "linked"
        link.symlink_to(models)
        file = put(models / "owner" / "repo" / "m.gguf")
        size = file.stat().st_size
        removed = removal.remove(catalog.resolve("hf:owner/repo", str(link)), str(link))
        assert (removed.files, removed.size_bytes) == ([str(link / "owner" / "repo" / "m.gguf")], size)
        assert list(models.iterdir()) == []


def test_nothing_to_remove(models: Path) -> None:
    with pytest.raises(ModelNotFound, match="nothing to remove"):
        removal.remove(ModelRef("m", str(models / "m.gguf")), str(models))


def test_other_files_of_a_repository_keep_its_folders(models: Path) -> None:
    put(models / "owner" / "repo" / "a.gguf")
    other = put(models / "owner" / "repo" / "b.gguf")
    removal.remove(catalog.resolve("hf:owner/repo:a.gguf", str(models)), str(models))
    assert list(other.parent.iterdir()) == [other]
