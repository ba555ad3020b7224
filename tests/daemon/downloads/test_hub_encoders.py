"""Encoders of pictures come along with their models, from a Hugging Face hub of the tests' own, and go with them."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny_sight
from tests.daemon.downloads.hub import Hub, running_hub
from tests.daemon.gguf.ggufs import Raw, Tensor, made
from tests.support import Daemon, running
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.downloads import hub_process

MODEL = made(tensors=[Tensor("token_embd.weight", (64 << 10,), size=256 << 10)])
REPO = "someone/Eye-GGUF"
NAME = f"hf:{REPO}:Q4_K_M"


def part(number: int) -> bytes:
    keys = {"split.no": Raw(2, struct.pack("<H", number)), "split.count": Raw(2, struct.pack("<H", 2))}
    return made(keys, [Tensor(f"blk.{number}.weight")])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_sight.mmproj(tmp_path_factory.mktemp("encoder") / "mmproj.gguf").read_bytes()


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[Hub, Daemon]]:
    with running_hub() as server:
        for daemon in running(
            THREADRUNNER_BACKEND="llama", THREADRUNNER_OFFLINE="", HF_ENDPOINT=server.url, HF_TOKEN="",
            HF_HOME="/nowhere", NO_PROXY="127.0.0.1",
        ):  # fmt: skip
            yield server, daemon


@pytest.fixture
def hub(started: tuple[Hub, Daemon], encoder: bytes) -> Iterator[Hub]:
    hub, daemon = started
    hub.files[REPO] = {"Eye-Q4_K_M.gguf": MODEL, "Eye-Q8_0.gguf": MODEL, "mmproj-F32.gguf": encoder[::-1]}
    hub.files[REPO] |= {"mmproj-F16.gguf": encoder}
    yield hub
    hub.cuts, hub.swapped, hub.status = [], {}, None
    for model in daemon.wire().call("models.list")["models"]:
        if model["present"]:
            daemon.wire().call("models.remove", model=model["name"])
    assert here(daemon) == []
    hub.ranges.clear()


@pytest.fixture
def daemon(hub: Hub, started: tuple[Hub, Daemon]) -> Daemon:
    return started[1]


def here(daemon: Daemon) -> list[str]:
    found = (path for path in (daemon.home / "models").rglob("*") if path.is_file())
    return sorted(path.name for path in found if ".pull-" not in str(path))


def asked(hub: Hub) -> list[str]:
    return [line.split()[0] for line in hub.ranges]


def pulled(daemon: Daemon, model: str = NAME, **params: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    wire = daemon.wire()
    response, before = wire.until(wire.begin("models.pull", model=model, **params))
    return response["result"], [message["params"] for message in before]


def test_it_comes_along_by_its_models_name(daemon: Daemon, hub: Hub, encoder: bytes) -> None:
    result, progress = pulled(daemon)
    folder, total = daemon.home / "models" / "someone" / "Eye-GGUF", len(MODEL) + len(encoder)
    assert result == {
        "model": NAME,
        "path": str(folder / "Eye-Q4_K_M.gguf"),
        "size_bytes": total,
        "mmproj": str(folder / "mmproj-Eye-F16.gguf"),
    }
    assert (folder / "mmproj-Eye-F16.gguf").read_bytes() == encoder
    assert (progress[-1]["done"], progress[-1]["total"]) == (total, total)
    assert all(line["total"] == total for line in progress)
    shown = daemon.wire().call("models.show", model=NAME)
    assert (shown["vision"], shown["mmproj"]) == (True, result["mmproj"])
    assert [model["vision"] for model in daemon.wire().call("models.list")["models"] if model["present"]] == [True]


def test_all_sizes_share_it_and_the_last_takes_it_away(daemon: Daemon, hub: Hub) -> None:
    pulled(daemon)
    other, _ = pulled(daemon, f"hf:{REPO}:Q8_0")
    assert asked(hub) == ["Eye-Q4_K_M.gguf", "mmproj-F16.gguf", "Eye-Q8_0.gguf"]
    assert other["mmproj"].endswith("mmproj-Eye-F16.gguf")
    first = daemon.wire().call("models.remove", model=NAME)
    assert [Path(file).name for file in first["files"]] == ["Eye-Q4_K_M.gguf"]
    assert "mmproj" not in first
    last = daemon.wire().call("models.remove", model=f"hf:{REPO}:Q8_0")
    assert [Path(file).name for file in last["files"]] == ["Eye-Q8_0.gguf", "mmproj-Eye-F16.gguf"]
    assert last["mmproj"] == other["mmproj"]
    assert last["size_bytes"] == other["size_bytes"]
    assert not Path(other["path"]).parent.exists()


def test_beside_a_split_model_in_a_folder(daemon: Daemon, hub: Hub, encoder: bytes) -> None:
    hub.files[REPO] = {f"Q4_K_M/Big-Q4_K_M-0000{i + 1}-of-00002.gguf": part(i) for i in range(2)}
    hub.files[REPO] |= {"mmproj-model-f16.gguf": encoder}
    result, _ = pulled(daemon)
    assert here(daemon) == [f"Big-Q4_K_M-0000{i}-of-00002.gguf" for i in (1, 2)] + ["mmproj-Big-f16.gguf"]
    assert result["mmproj"].endswith("mmproj-Big-f16.gguf")
    assert result["size_bytes"] == len(part(0)) + len(part(1)) + len(encoder)


def test_none_for_a_model_that_has_none(daemon: Daemon, hub: Hub) -> None:
    hub.files[REPO] = {"Eye-Q4_K_M.gguf": MODEL}
    result, _ = pulled(daemon)
    assert {"mmproj", "missing"}.isdisjoint(result)
    assert daemon.wire().call("models.show", model=NAME)["vision"] is False
    assert pulled(daemon)[0] == result  # the hub is asked again, and has none


def test_without_it_and_later_with_it(daemon: Daemon, hub: Hub) -> None:
    alone, _ = pulled(daemon, mmproj=False)
    assert here(daemon) == ["Eye-Q4_K_M.gguf"]
    assert {"mmproj", "missing"}.isdisjoint(alone)
    hub.files[REPO]["Eye-Q4_K_M.gguf"] += b"newer"  # what is here is not fetched again
    completed, progress = pulled(daemon)
    assert completed["mmproj"].endswith("mmproj-Eye-F16.gguf")
    assert asked(hub) == ["Eye-Q4_K_M.gguf", "mmproj-F16.gguf"]
    assert progress[-1]["total"] == completed["size_bytes"] - alone["size_bytes"]


def test_one_that_the_hub_does_not_give_is_said_and_gone_on_with(daemon: Daemon, hub: Hub, encoder: bytes) -> None:
    hub.cuts = [len(MODEL), 1000, *[0] * 100]
    result, _ = pulled(daemon)
    assert here(daemon) == ["Eye-Q4_K_M.gguf"]
    assert "mmproj" not in result
    assert result["size_bytes"] == len(MODEL)
    assert "encoder of pictures mmproj-F16.gguf: " in result["missing"]
    assert "run the command again, it goes on from byte 1000" in result["missing"]
    hub.cuts, hub.ranges = [], []
    result, _ = pulled(daemon)
    assert "missing" not in result
    assert hub.ranges == ["mmproj-F16.gguf bytes=1000-"]
    assert Path(result["mmproj"]).read_bytes() == encoder


def test_one_with_a_wrong_sum_is_not_kept(daemon: Daemon, hub: Hub) -> None:
    hub.swapped["mmproj-F16.gguf"] = hub.files[REPO]["mmproj-F16.gguf"][:-1] + b"x"
    assert "has the wrong sha256" in pulled(daemon)[0]["missing"]
    assert here(daemon) == ["Eye-Q4_K_M.gguf"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clip.has_vision_encoder": False}, "for sound alone"),
        ({"clip.projector_type": "hunyuanvl"}, "are not supported"),
        ({"general.architecture": "llama"}, "no encoder of pictures"),
    ],
)
def test_one_that_is_of_no_use_is_not_kept(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = tiny_sight.mmproj(tmp_path / "mmproj.gguf", **changes)
    with pytest.raises(ModelLoadFailed, match=says):
        hub_process._check_encoder(path)
    assert not path.exists()


def test_a_hub_that_cannot_be_asked_is_no_fault_of_a_model_that_is_here(daemon: Daemon, hub: Hub) -> None:
    alone, _ = pulled(daemon, mmproj=False)
    hub.status = (503, "")
    assert pulled(daemon)[0] == alone


def configure(daemon: Daemon, text: str) -> None:
    (daemon.home / "config.toml").write_text(text)
    os.kill(daemon.pid, signal.SIGHUP)  # heard before the next request of this connection is read
    daemon.wire().call("status")


def test_config_toml_may_name_another_or_none(daemon: Daemon, hub: Hub, encoder: bytes) -> None:
    configure(daemon, f'[models."{NAME}"]\nmmproj = "off"\n')
    pulled(daemon)
    assert asked(hub) == ["Eye-Q4_K_M.gguf"]
    beside, other = (daemon.home / "models" / name for name in (f"{REPO}/mmproj-Eye-F16.gguf", "other-mmproj.gguf"))
    beside.write_bytes(encoder)
    other.write_bytes(encoder)
    shown = daemon.wire().call("models.show", model=NAME)
    assert (shown["vision"], shown["mmproj"]) == (False, "")
    configure(daemon, f'[models."{NAME}"]\nmmproj = "other-mmproj.gguf"\n')
    shown = daemon.wire().call("models.show", model=NAME)
    assert (shown["vision"], shown["mmproj"]) == (True, str(other))
    configure(daemon, "")
    assert daemon.wire().call("models.show", model=NAME)["mmproj"] == str(beside)
    other.unlink()


def test_removing_leaves_one_that_config_toml_names(daemon: Daemon, hub: Hub) -> None:
    result, _ = pulled(daemon)
    configure(daemon, '[models."another"]\nmmproj = "mmproj-Eye-F16.gguf"\n')
    assert "mmproj" not in daemon.wire().call("models.remove", model=NAME)
    assert here(daemon) == ["mmproj-Eye-F16.gguf"]
    configure(daemon, "")
    Path(result["mmproj"]).unlink()


def test_a_copy_brings_it_along(daemon: Daemon, tmp_path: Path, encoder: bytes) -> None:
    (tmp_path / "Mine-Q4_0.gguf").write_bytes(MODEL)
    (tmp_path / "mmproj-model-f16.gguf").write_bytes(encoder)
    result, progress = pulled(daemon, str(tmp_path))
    assert result["mmproj"] == str(daemon.home / "models" / "mmproj-Mine-f16.gguf")
    assert progress[-1]["total"] == result["size_bytes"] == len(MODEL) + len(encoder)
    daemon.wire().call("models.remove", model="Mine-Q4_0.gguf")
    pulled(daemon, str(tmp_path), mmproj=False)
    assert here(daemon) == ["Mine-Q4_0.gguf"]
