"""Names: what they mean, where models come from, what is known of them, and removing one."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.gguf.ggufs import made
from tests.support import Daemon, running
from threadrunner.api.errors import ModelNotFound
from threadrunner.daemon.models import catalog, foreign, selection

REPOSITORY = [
    "README.md",
    "Tiny-BF16.gguf",
    "Tiny-F16.gguf",
    "Tiny-IQ4_XS.gguf",
    "Tiny-Q4_K_M.gguf",
    "Tiny-Q4_K_S.gguf",
    "Tiny-Q8_0-00001-of-00002.gguf",
    "Tiny-Q8_0-00002-of-00002.gguf",
    "mmproj-Tiny-F16.gguf",
    "Tiny.imatrix.gguf",
]


class TestChoice:
    @pytest.mark.parametrize(
        ("wanted", "chosen"),
        [
            ("", ["Tiny-Q4_K_M.gguf"]),
            ("Q4_K_M", ["Tiny-Q4_K_M.gguf"]),
            ("q4_k_s", ["Tiny-Q4_K_S.gguf"]),
            ("F16", ["Tiny-F16.gguf"]),
            ("Q8_0", ["Tiny-Q8_0-00001-of-00002.gguf", "Tiny-Q8_0-00002-of-00002.gguf"]),
            ("Tiny-BF16.gguf", ["Tiny-BF16.gguf"]),
        ],
    )
    def test_one(self, wanted: str, chosen: list[str]) -> None:
        assert selection.choose(REPOSITORY, wanted) == chosen

    @pytest.mark.parametrize("wanted", ["Q4_K", "Q3_K_M", "Tiny", "mmproj-Tiny-F16.gguf", ".*"])
    def test_none_or_several(self, wanted: str) -> None:
        with pytest.raises(selection.NoMatch, match=r"Tiny-Q4_K_M\.gguf"):
            selection.choose(REPOSITORY, wanted)

    def test_no_model_at_all(self) -> None:
        with pytest.raises(selection.NoMatch, match="no GGUF file"):
            selection.choose(["README.md", "mmproj.gguf"])

    def test_the_only_one_needs_no_known_quantization(self) -> None:
        assert selection.choose(["odd.gguf", "README.md"]) == ["odd.gguf"]

    def test_folders_of_a_repository(self) -> None:
        files = ["Q8_0/Tiny-00001-of-00002.gguf", "Q8_0/Tiny-00002-of-00002.gguf", "Q2_K/Tiny.gguf"]
        assert selection.choose(files, "Q8_0") == files[:2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home with models of Ollama's and LM Studio's in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    data = made({"general.name": "Ollama's"})
    digest = hashlib.sha256(data).hexdigest()
    store = tmp_path / ".ollama" / "models"
    (store / "blobs").mkdir(parents=True)
    (store / "blobs" / f"sha256-{digest}").write_bytes(data)
    manifest(store, "library/tiny/latest", f"sha256:{digest}")
    manifest(store, "someone/tiny/1b", f"sha256:{digest}")
    studio = tmp_path / ".lmstudio" / "models" / "someone" / "Studio-GGUF"
    studio.mkdir(parents=True)
    (studio / "Studio-Q4_0.gguf").write_bytes(made({"general.name": "LM Studio's"}))
    return tmp_path


def manifest(store: Path, name: str, digest: str) -> None:
    path = store / "manifests" / "registry.ollama.ai" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "0" * 64, "size": 1},
        {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": 1},
    ]
    path.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))


class TestStores:
    def test_both_are_used_in_place(self, home: Path) -> None:
        assert [name for name, _ in foreign.models("ollama")] == ["ollama:someone/tiny:1b", "ollama:tiny:latest"]
        ((name, path),) = foreign.models("lmstudio")
        assert name == "lmstudio:someone/Studio-GGUF:Studio-Q4_0.gguf"
        assert Path(path).is_relative_to(home)

    def test_latest_goes_without_saying(self, home: Path) -> None:
        model = catalog.resolve("ollama:tiny", str(home))
        assert model.present
        assert model.keeper == "Ollama"

    @pytest.mark.parametrize(
        "digest", ["sha256:../../../etc/passwd", "../../x", "sha256-" + "0" * 64, "sha256:" + "A" * 64, ""]
    )
    def test_a_digest_is_never_a_path(self, home: Path, digest: str) -> None:
        manifest(home / ".ollama" / "models", "library/evil/latest", digest)
        assert not any("evil" in name for name, _ in foreign.models("ollama"))

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"layers": 1}', '{"layers": [1]}', "\x00"])
    def test_a_broken_manifest_is_passed_over(self, home: Path, text: str) -> None:
        (home / ".ollama" / "models" / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "x").write_text(text)
        assert len(foreign.models("ollama")) == 2

    def test_one_that_is_not_there_is_told_what_is(self, home: Path) -> None:
        with pytest.raises(ModelNotFound, match=r"it has: ollama:someone/tiny:1b, ollama:tiny:latest"):
            catalog.resolve("ollama:nothing", str(home))

    def test_only_the_manifest_that_is_named_is_read(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        measured: list[str] = []
        getsize = os.path.getsize

        def counted(path: str) -> int:
            measured.append(os.path.basename(path))
            return getsize(path)

        monkeypatch.setattr(os.path, "getsize", counted)
        assert catalog.resolve("ollama:someone/tiny:1b", str(home)).present
        assert measured == ["1b"]

    @pytest.mark.parametrize(
        "name", ["library/tiny", "../library/tiny", "./tiny", "tiny:", "tiny:latest:latest", "a/b/tiny", ".", "", "a\0"]
    )
    def test_a_name_is_never_a_path(self, home: Path, name: str) -> None:
        assert foreign.find("ollama", name) is None

    def test_all_that_is_listed_is_found(self, home: Path) -> None:
        for source in foreign.STORES:
            for name, path in foreign.models(source):
                assert foreign.find(source, name.removeprefix(f"{source}:")) == path

    @pytest.mark.parametrize("file", ["Studio-Q4_0.gguf:latest", "../Studio-GGUF/Studio-Q4_0.gguf", "mmproj.gguf", ""])
    def test_no_other_files_of_lm_studios(self, home: Path, file: str) -> None:
        (home / ".lmstudio" / "models" / "someone" / "Studio-GGUF" / "mmproj.gguf").touch()
        assert foreign.find("lmstudio", f"someone/Studio-GGUF:{file}") is None

    def test_other_places(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OLLAMA_MODELS", str(home / "nowhere"))
        assert foreign.models("ollama") == []


class TestNames:
    def test_an_alias_may_lead_to_an_alias(self, tmp_path: Path) -> None:
        model = catalog.resolve("a", str(tmp_path), {"a": "b", "b": "smollm2:135m"})
        assert model.name == "a"
        assert model.package == catalog.CATALOG["smollm2:135m"]

    def test_an_alias_to_itself_is_an_error_not_a_loop(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match="leads to itself"):
            catalog.resolve("a", str(tmp_path), {"a": "b", "b": "a"})

    def test_parts_are_one_model(self, tmp_path: Path) -> None:
        for number in (1, 2):
            (tmp_path / f"big-{number:05}-of-00002.gguf").touch()
        assert catalog.model_files(str(tmp_path)) == ["big-00001-of-00002.gguf"]

    def test_what_the_hub_gave_is_found_without_it(self, tmp_path: Path) -> None:
        place = tmp_path / "someone" / "Tiny-GGUF"
        place.mkdir(parents=True)
        (place / "Tiny-Q4_K_M.gguf").touch()
        for name in ("hf:someone/Tiny-GGUF", "hf:someone/Tiny-GGUF:Q4_K_M", "hf:someone/Tiny-GGUF:Tiny-Q4_K_M.gguf"):
            assert catalog.resolve(name, str(tmp_path)).path == str(place / "Tiny-Q4_K_M.gguf")
        assert not catalog.resolve("hf:someone/Tiny-GGUF:Q8_0", str(tmp_path)).present
        assert "hf:someone/Tiny-GGUF:Tiny-Q4_K_M.gguf" in [model.name for model in catalog.every(str(tmp_path))]

    def test_a_forgotten_prefix_is_suggested(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match="hf:someone/Tiny-GGUF"):
            catalog.resolve("someone/Tiny-GGUF", str(tmp_path))

    def test_a_near_miss_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match=r"Did you mean smollm2:135m or "):
            catalog.resolve("smolm2:135m", str(tmp_path))


class TestOnTheEventLoop:
    """Catalog: the same answers as resolve and every, without holding up other tasks."""

    @pytest.fixture
    def models(self, tmp_path: Path) -> Path:
        (tmp_path / "tiny.gguf").touch()
        (tmp_path / "mmproj-tiny.gguf").touch()
        return tmp_path

    @pytest.mark.parametrize("name", ["smollm2:135m", "tiny", "tiny.gguf", "{models}/tiny.gguf", "mine"])
    def test_common_names_take_no_thread(self, models: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        aliases = {"mine": "tiny"}
        name = name.format(models=models)
        monkeypatch.setattr(asyncio, "to_thread", None)
        monkeypatch.setattr(os, "scandir", None)
        model = asyncio.run(catalog.Catalog(str(models), aliases).resolve(name))
        assert model == catalog.resolve(name, str(models), aliases)
        assert model.name == name

    @pytest.mark.parametrize("name", ["ollama:tiny", "hf:someone/Tiny-GGUF", "nobody", "mmproj-tiny.gguf", "/nobody"])
    def test_what_takes_longer_is_done_on_one(
        self, home: Path, models: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        to_thread, used = asyncio.to_thread, []

        async def counted(function: Any, *args: Any) -> Any:
            used.append(function)
            return await to_thread(function, *args)

        monkeypatch.setattr(asyncio, "to_thread", counted)
        with contextlib.suppress(ModelNotFound):
            asyncio.run(catalog.Catalog(str(models), {}).resolve(name))
        assert len(used) == 1

    def test_every_has_the_aliases_that_lead_somewhere(self, home: Path, models: Path) -> None:
        shelf = catalog.Catalog(str(models), {"mine": "tiny", "lost": "nobody", "circle": "circle"})
        names = [model.name for model in asyncio.run(shelf.every())]
        assert names == [*(model.name for model in catalog.every(str(models))), "mine"]


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_ALIASES="mine=tiny.gguf", HOME=str(home))


class TestOverTheSocket:
    def put(self, daemon: Daemon, name: str = "tiny.gguf", data: bytes | None = None) -> Path:
        path = daemon.home / "models" / name
        path.write_bytes(made() if data is None else data)
        return path

    def test_a_list_has_what_the_headers_tell(self, daemon: Daemon) -> None:
        path = self.put(daemon)
        listed = {model["name"]: model for model in daemon.wire().call("models.list")["models"]}
        assert set(listed) == {
            "smollm2:135m",
            "tiny.gguf",
            "mine",
            "ollama:tiny:latest",
            "ollama:someone/tiny:1b",
            "lmstudio:someone/Studio-GGUF:Studio-Q4_0.gguf",
        }
        assert listed["tiny.gguf"] == {
            "name": "tiny.gguf",
            "path": str(path),
            "size_bytes": path.stat().st_size,
            "present": True,
            "loaded": False,
            "default": False,
            "description": "Tiny",
            "quantization": "F32",
            "parameters": 128,
            "context": 64,
            "fim": True,
            "chat_template": False,
            "last_used": None,
            "keeper": "",
            "problem": None,
            "host": "",
            "architecture": "llama",
            "width": 32,
            "vocabulary": 3,
            "vision": False,
        }
        assert listed["mine"]["path"] == str(path)
        assert listed["ollama:tiny:latest"]["keeper"] == "Ollama"

    def test_a_damaged_one_is_listed_with_the_reason(self, daemon: Daemon) -> None:
        self.put(daemon, data=made()[:-1])
        shown = daemon.wire().call("models.show", model="tiny")
        assert "is not complete" in shown["problem"]
        assert shown["parameters"] is None

    def test_a_file_that_changes_is_read_again(self, daemon: Daemon) -> None:
        self.put(daemon)
        assert daemon.wire().call("models.show", model="tiny")["title"] == "Tiny"
        self.put(daemon, data=made({"general.name": "Another"}))
        assert daemon.wire().call("models.show", model="tiny")["title"] == "Another"

    def test_when_it_was_last_used_outlives_the_daemon(self, daemon: Daemon) -> None:
        path = self.put(daemon)
        daemon.wire().call("generate", prompt="x", model="tiny")
        used = daemon.wire().call("models.show", model="tiny")["last_used"]
        assert used
        daemon.kill()
        daemon.start()
        assert daemon.wire().call("models.show", model=str(path))["last_used"] == used
        assert stat.S_IMODE((daemon.home / "cache" / "last-used.json").stat().st_mode) == 0o600

    def test_removed(self, daemon: Daemon) -> None:
        path = self.put(daemon)
        size = path.stat().st_size
        removed = daemon.wire().call("models.remove", model="mine")
        assert removed == {"model": "mine", "files": [str(path)], "size_bytes": size}
        assert not path.exists()
        assert daemon.wire().fail("models.remove", model="tiny.gguf")["data"]["kind"] == "ModelNotFound"

    def test_only_ours_is_removed(self, daemon: Daemon, tmp_path: Path) -> None:
        other = tmp_path / "other.gguf"
        other.write_bytes(made())
        assert "is not in" in daemon.wire().fail("models.remove", model=str(other))["message"]
        assert "belongs to Ollama" in daemon.wire().fail("models.remove", model="ollama:tiny")["message"]
        sneaky = daemon.home / "models" / ".." / "config.gguf"
        sneaky.write_bytes(made())
        assert "is not in" in daemon.wire().fail("models.remove", model=str(sneaky))["message"]

    def test_a_file_is_copied_in(self, daemon: Daemon, tmp_path: Path) -> None:
        source = tmp_path / "given.gguf"
        source.write_bytes(made())
        wire = daemon.wire()
        response, before = wire.until(wire.begin("models.pull", model=str(source)))
        assert response["result"]["path"] == str(daemon.home / "models" / "given.gguf")
        assert before[-1]["params"]["done"] == source.stat().st_size
        assert (daemon.home / "models" / "given.gguf").read_bytes() == source.read_bytes()
        assert "already" in daemon.wire().fail("models.pull", model=str(source))["message"]

    def test_a_folder_is_copied_in(self, daemon: Daemon, home: Path) -> None:
        daemon.wire().call("models.pull", model=str(home / ".lmstudio"))
        assert (daemon.home / "models" / "Studio-Q4_0.gguf").exists()
        assert "no GGUF file" in daemon.wire().fail("models.pull", model=str(daemon.home / "cache"))["message"]

    def test_a_damaged_file_is_not_copied(self, daemon: Daemon, tmp_path: Path) -> None:
        source = tmp_path / "given.gguf"
        source.write_bytes(made()[:-1])
        assert "is not complete" in daemon.wire().fail("models.pull", model=str(source))["message"]
        assert list((daemon.home / "models").iterdir()) == []
