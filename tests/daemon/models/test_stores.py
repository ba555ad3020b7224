"""Other programs' stores as they are found on people's machines: other registries, other folders, half of a fetch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.daemon.gguf.ggufs import made
from threadrunner.api.errors import InvalidParams, ModelNotFound
from threadrunner.daemon.models import catalog, foreign, hub_cache, removal

DIGEST = "ab" * 32


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made())
    return path


class TestOllama:
    def store(self, folder: Path, *names: str) -> Path:
        """With a manifest for each name, host and tag included."""
        put(folder / "blobs" / f"sha256-{DIGEST}")
        layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{DIGEST}"}
        for name in names:
            (folder / "manifests" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "manifests" / name).write_text(json.dumps({"layers": [layer]}))
        return folder

    @pytest.mark.parametrize(
        ("manifest", "name"),
        [
            ("registry.ollama.ai/library/tiny/1b", "tiny:1b"),
            ("registry.ollama.ai/someone/tiny/1b", "someone/tiny:1b"),
            ("hf.co/bartowski/Tiny-GGUF/Q4_K_M", "hf.co/bartowski/Tiny-GGUF:Q4_K_M"),
            ("huggingface.co/bartowski/Tiny-GGUF/latest", "huggingface.co/bartowski/Tiny-GGUF:latest"),
            ("localhost:5000/library/tiny/latest", "localhost:5000/library/tiny:latest"),
        ],
    )
    def test_names_are_those_that_ollama_prints(self, home: Path, manifest: str, name: str) -> None:
        self.store(home / ".ollama" / "models", manifest)
        ((listed, path),) = foreign.models("ollama")
        assert listed == f"ollama:{name}"
        assert foreign.find("ollama", name) == path
        assert foreign.find("ollama", name.removesuffix(":latest")) == path
        assert catalog.resolve(listed.upper().replace("OLLAMA:", "ollama:"), str(home)).path == path

    @pytest.mark.parametrize("named", ["~/elsewhere", '"{home}/elsewhere"', "elsewhere", " {home}/elsewhere "])
    def test_its_variable_as_people_write_it(self, home: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
        self.store(home / "elsewhere", "hf.co/bartowski/Tiny-GGUF/Q4_K_M")
        monkeypatch.setenv("PWD", str(home))
        monkeypatch.setenv("OLLAMA_MODELS", named.format(home=home))
        assert len(foreign.models("ollama")) == 1

    def test_what_is_not_a_manifest_hides_no_other(self, home: Path) -> None:
        store = self.store(home / ".ollama" / "models", "registry.ollama.ai/library/tiny/1b")
        place = store / "manifests" / "registry.ollama.ai" / "library" / "tiny"
        (place / "deep").write_text("[" * 100_000)
        (place / "folder").mkdir()
        (place / "loop").symlink_to("loop")
        os.mkfifo(place / "pipe")
        (store / "manifests" / "loop").symlink_to("loop")
        (store / "manifests" / ".DS_Store").touch()
        (store / "manifests" / "registry.ollama.ai" / "stray").touch()
        assert [name for name, _ in foreign.models("ollama")] == ["ollama:tiny:1b"]
        for name in ("tiny:pipe", "tiny:deep", "tiny:folder", "tiny:loop"):
            assert foreign.find("ollama", name) is None


class TestLMStudio:
    NAME = "lmstudio:owner/Tiny-GGUF:Tiny-Q4_0.gguf"

    def put(self, models: Path) -> Path:
        return put(models / "owner" / "Tiny-GGUF" / "Tiny-Q4_0.gguf")

    @pytest.mark.parametrize("folder", [".lmstudio", ".cache/lm-studio"])
    def test_its_usual_folders(self, home: Path, folder: str) -> None:
        path = self.put(home / folder / "models")
        assert foreign.models("lmstudio") == [(self.NAME, str(path))]

    def test_the_folder_that_its_pointer_names(self, home: Path) -> None:
        path = self.put(home / "data" / "models")
        (home / ".lmstudio-home-pointer").write_text(f"{home}/data\n")
        assert foreign.models("lmstudio") == [(self.NAME, str(path))]
        assert foreign.find("lmstudio", self.NAME.removeprefix("lmstudio:")) == str(path)

    @pytest.mark.parametrize("settings", [".lmstudio", ".cache/lm-studio", ".config/LM Studio"])
    def test_the_folder_that_is_chosen_in_its_settings(self, home: Path, settings: str) -> None:
        path = self.put(home / "big disk")
        (home / settings).mkdir(parents=True)
        (home / settings / "settings.json").write_text(json.dumps({"downloadsFolder": f"{home}/big disk"}))
        assert foreign.models("lmstudio") == [(self.NAME, str(path))]

    @pytest.mark.parametrize(
        "text", ["", "[]", "{", '{"downloadsFolder": 1}', '{"downloadsFolder": "x"}', "[" * 100_000]
    )
    def test_settings_that_say_nothing(self, home: Path, text: str) -> None:
        path = self.put(home / ".lmstudio" / "models")
        (home / ".lmstudio" / "settings.json").write_text(text)
        (home / ".lmstudio-home-pointer").write_bytes(b"\xff")
        assert foreign.models("lmstudio") == [(self.NAME, str(path))]

    def test_a_folder_that_is_a_link_to_the_other_is_listed_once(self, home: Path) -> None:
        self.put(home / ".lmstudio" / "models")
        (home / ".cache").mkdir()
        (home / ".cache" / "lm-studio").symlink_to(home / ".lmstudio")
        assert len(foreign.models("lmstudio")) == 1

    def test_a_folder_that_loops_hides_no_other(self, home: Path) -> None:
        models = self.put(home / ".lmstudio" / "models").parent.parent.parent
        (models / "owner" / "loop").symlink_to("loop")
        (models / "loop").symlink_to("loop")
        assert len(foreign.models("lmstudio")) == 1


class TestHubCache:
    OLD, NEW = "0" * 40, "f" * 40

    def fetched(self, cache: Path, *files: str, commit: str = NEW) -> Path:
        """As `hf download` leaves it: links in a snapshot, files by their sum."""
        place = cache / "models--owner--Tiny-GGUF"
        for file in files:
            blob = put(place / "blobs" / file.replace("/", "-"))
            link = place / "snapshots" / commit / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / "main").write_text(commit)
        return place / "snapshots" / commit

    @pytest.mark.parametrize("name", ["", ":Q4_K_M", ":Tiny-Q4_K_M.gguf"])
    def test_what_is_there_is_used_in_place(self, home: Path, name: str) -> None:
        snapshot = self.fetched(home / ".cache" / "huggingface" / "hub", "Tiny-Q4_K_M.gguf", "Tiny-Q8_0.gguf")
        model = catalog.resolve(f"hf:owner/Tiny-GGUF{name}", str(home / "models"))
        assert (model.path, model.keeper) == (str(snapshot / "Tiny-Q4_K_M.gguf"), hub_cache.KEEPER)
        with pytest.raises(InvalidParams, match="belongs to the Hugging Face cache"):
            removal.remove(model, str(home / "models"))
        listed = [model.name for model in catalog.every(str(home / "models"))]
        assert listed[1:] == ["hf:owner/Tiny-GGUF:Tiny-Q4_K_M.gguf", "hf:owner/Tiny-GGUF:Tiny-Q8_0.gguf"]
        assert catalog.resolve(listed[1], str(home / "models")).path == model.path

    @pytest.mark.parametrize(
        ("variable", "folder"),
        [
            ("HF_HUB_CACHE", ""),
            ("HUGGINGFACE_HUB_CACHE", ""),
            ("HF_HOME", "hub"),
            ("XDG_CACHE_HOME", "huggingface/hub"),
        ],
    )
    def test_its_variables(self, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, folder: str) -> None:
        self.fetched(home / "other" / folder, "Tiny-Q4_K_M.gguf")
        monkeypatch.setenv(variable, "~/other")
        assert catalog.resolve("hf:owner/Tiny-GGUF", str(home / "models")).present

    def test_ours_comes_first_and_is_listed_once(self, home: Path) -> None:
        self.fetched(home / ".cache" / "huggingface" / "hub", "Tiny-Q4_K_M.gguf")
        ours = put(home / "models" / "owner" / "Tiny-GGUF" / "Tiny-Q4_K_M.gguf")
        assert catalog.resolve("hf:owner/Tiny-GGUF", str(home / "models")).path == str(ours)
        assert len(catalog.every(str(home / "models"))) == 2

    def test_main_comes_before_other_commits(self, home: Path) -> None:
        cache = home / ".cache" / "huggingface" / "hub"
        self.fetched(cache, "Tiny-Q4_K_M.gguf", commit=self.OLD)
        self.fetched(cache, "Tiny-Q4_K_M.gguf", commit=self.NEW)
        path = catalog.resolve("hf:owner/Tiny-GGUF", str(home / "models")).path
        assert Path(path).parent.name == self.NEW

    def test_a_split_model_in_a_folder_of_the_repository(self, home: Path) -> None:
        parts = [f"Q8_0/Tiny-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
        snapshot = self.fetched(home / ".cache" / "huggingface" / "hub", *parts)
        model = catalog.resolve("hf:owner/Tiny-GGUF:Q8_0", str(home / "models"))
        assert model.files == [str(snapshot / part) for part in parts]

    def test_half_of_a_split_model_is_no_model(self, home: Path) -> None:
        self.fetched(home / ".cache" / "huggingface" / "hub", "Tiny-Q8_0-00001-of-00002.gguf")
        assert not catalog.resolve("hf:owner/Tiny-GGUF", str(home / "models")).present

    def test_a_blob_that_is_gone_is_no_model(self, home: Path) -> None:
        snapshot = self.fetched(home / ".cache" / "huggingface" / "hub", "Tiny-Q4_K_M.gguf")
        (snapshot / "Tiny-Q4_K_M.gguf").resolve().unlink()
        assert not catalog.resolve("hf:owner/Tiny-GGUF", str(home / "models")).present
        assert len(catalog.every(str(home / "models"))) == 1

    def test_several_models_ask_for_a_choice_where_none_is_usual(self, home: Path) -> None:
        self.fetched(home / ".cache" / "huggingface" / "hub", "a.gguf", "b.gguf")
        assert not catalog.resolve("hf:owner/Tiny-GGUF", str(home / "models")).present

    def test_a_name_is_never_a_path(self, home: Path) -> None:
        with pytest.raises(ModelNotFound):
            catalog.resolve("hf:owner/..", str(home / "models"))
