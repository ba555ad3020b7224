"""Fetching from a Hugging Face hub of the tests' own, over connections that break."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.downloads.hub import Hub, running_hub
from tests.daemon.gguf.ggufs import Raw, Tensor, made
from tests.support import Daemon, running
from threadrunner.api.errors import FetchFailed
from threadrunner.daemon.downloads import hub_process, staging

REPO = "someone/Tiny-GGUF"
MODEL = made(tensors=[Tensor("token_embd.weight", (64 << 10,), size=256 << 10)])
OTHER = made({"general.name": "Other"})


def number(key: str, value: int) -> dict[str, Raw]:
    return {key: Raw(2, struct.pack("<H", value))}


def parts(count: int) -> dict[str, bytes]:
    return {
        f"Q8_0/Big-Q8_0-{index + 1:05}-of-{count:05}.gguf": made(
            {**number("split.no", index), **number("split.count", count)}, [Tensor(f"blk.{index}.weight")]
        )
        for index in range(count)
    }


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as server:
        server.files[REPO] = {"README.md": b"x", "Tiny-Q4_K_M.gguf": MODEL, "Tiny-F16.gguf": OTHER, **parts(3)}
        yield server


@pytest.fixture
def fetching(hub: Hub, tmp_path: Path) -> Iterator[Daemon]:
    yield from running(
        THREADRUNNER_BACKEND="llama",
        THREADRUNNER_OFFLINE="",
        HF_ENDPOINT=hub.url,
        HF_HOME=str(tmp_path),
        HF_TOKEN="",
        NO_PROXY="127.0.0.1",
    )


def files(daemon: Daemon) -> list[str]:
    """What is in the models folder, less what is under way."""
    folder = daemon.home / "models"
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if ".pull-" not in name)


def under_way(daemon: Daemon) -> list[Path]:
    return list((daemon.home / "models").rglob(".pull-*"))


def why(error: dict[str, Any]) -> tuple[str, str | None]:
    return error["data"]["kind"], error["data"].get("reason")


def test_the_wanted_quantization_comes_whole(fetching: Daemon, hub: Hub) -> None:
    wire = fetching.wire()
    response, before = wire.until(wire.begin("models.pull", model=f"hf:{REPO}:Q4_K_M"))
    path = fetching.home / "models" / "someone" / "Tiny-GGUF" / "Tiny-Q4_K_M.gguf"
    assert response["result"] == {"model": f"hf:{REPO}:Q4_K_M", "path": str(path), "size_bytes": len(MODEL)}
    assert path.read_bytes() == MODEL
    assert before[-1]["params"] == {"request": 1, "stage": "download", "done": len(MODEL), "total": len(MODEL)}
    assert under_way(fetching) == []


def test_without_a_wish_a_good_one_is_chosen(fetching: Daemon) -> None:
    assert fetching.wire().call("models.pull", model=f"hf:{REPO}")["path"].endswith("Tiny-Q4_K_M.gguf")


def test_a_file_by_its_name(fetching: Daemon) -> None:
    assert fetching.wire().call("models.pull", model=f"hf:{REPO}:Tiny-F16.gguf")["size_bytes"] == len(OTHER)


def test_a_wish_that_nothing_fits_is_told_what_there_is(fetching: Daemon) -> None:
    error = fetching.wire().fail("models.pull", model=f"hf:{REPO}:Q2_K")
    assert error["data"]["kind"] == "ModelNotFound"
    assert "Tiny-Q4_K_M.gguf" in error["message"]


def test_all_parts_of_a_split_model_come(fetching: Daemon) -> None:
    pulled = fetching.wire().call("models.pull", model=f"hf:{REPO}:Q8_0")
    assert pulled["path"].endswith("Big-Q8_0-00001-of-00003.gguf")
    assert len(files(fetching)) == 3
    shown = fetching.wire().call("models.show", model=f"hf:{REPO}:Q8_0")
    assert len(shown["files"]) == 3
    assert shown["problem"] is None


def test_a_cut_connection_is_gone_on_with_from_where_it_broke(fetching: Daemon, hub: Hub) -> None:
    hub.cuts = [50_000] * 3
    fetching.wire().call("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert hub.ranges == [f"Tiny-Q4_K_M.gguf bytes={50_000 * n}-" for n in range(4)]
    assert hub.served == len(MODEL)


def test_after_too_many_cuts_the_next_pull_goes_on(fetching: Daemon, hub: Hub) -> None:
    hub.cuts = [50_000, *[0] * 100]
    error = fetching.wire().fail("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert why(error) == ("FetchFailed", "network")
    assert "run the command again, it goes on from byte 50000" in error["message"]
    assert files(fetching) == []
    hub.cuts.clear()
    hub.ranges.clear()
    fetching.wire().call("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert hub.ranges == ["Tiny-Q4_K_M.gguf bytes=50000-"]
    assert files(fetching) == ["someone/Tiny-GGUF/Tiny-Q4_K_M.gguf"]


def test_a_server_without_ranges_begins_again(fetching: Daemon, hub: Hub) -> None:
    hub.ignores_ranges = True
    hub.cuts = [50_000]
    fetching.wire().call("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert hub.served == 50_000 + len(MODEL)


def test_a_wrong_sum_is_refused_and_not_kept(fetching: Daemon, hub: Hub) -> None:
    hub.swapped["Tiny-Q4_K_M.gguf"] = MODEL[:-1] + b"x"
    error = fetching.wire().fail("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert why(error) == ("FetchFailed", "checksum")
    assert error["code"] == -32012
    assert error["data"]["model"] == f"hf:{REPO}:Q4_K_M"
    assert "wrong sha256" in error["message"]
    assert files(fetching) == []
    hub.swapped.clear()
    fetching.wire().call("models.pull", model=f"hf:{REPO}:Q4_K_M")


def test_more_than_was_promised_is_refused(fetching: Daemon, hub: Hub) -> None:
    hub.swapped["Tiny-Q4_K_M.gguf"] = MODEL + bytes(10_000)
    error = fetching.wire().fail("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert why(error) == ("FetchFailed", "checksum")
    assert "longer than" in error["message"]


def test_what_is_no_model_never_gets_its_name(fetching: Daemon, hub: Hub) -> None:
    hub.files[REPO]["Tiny-Q4_K_M.gguf"] = b"GGUF" + bytes(1000)
    error = fetching.wire().fail("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert error["data"]["kind"] == "ModelLoadFailed"
    assert "cannot be used" in error["message"]
    assert files(fetching) == []


def test_two_pulls_of_one_model_share_one_download(fetching: Daemon, hub: Hub) -> None:
    hub.go.clear()
    one, two = fetching.wire(), fetching.wire()
    first = one.begin("models.pull", model=f"hf:{REPO}:Q4_K_M")
    second = two.begin("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert hub.asked.wait(60)
    two.call("status")  # what it asked before has been heard
    hub.go.set()
    assert one.until(first)[0]["result"] == two.until(second)[0]["result"]
    assert hub.served == len(MODEL)


def test_two_wishes_that_mean_the_same_file_share_it(fetching: Daemon, hub: Hub) -> None:
    hub.go.clear()
    one, two = fetching.wire(), fetching.wire()
    first = one.begin("models.pull", model=f"hf:{REPO}")
    assert hub.asked.wait(60)
    second = two.begin("models.pull", model=f"hf:{REPO}:Q4_K_M")
    two.call("status")
    hub.go.set()
    assert one.until(first)[0]["result"]["path"] == two.until(second)[0]["result"]["path"]
    assert hub.served == len(MODEL)
    assert under_way(fetching) == []


def test_two_models_of_one_repository_come_at_once(fetching: Daemon, hub: Hub) -> None:
    hub.go.clear()
    one, two = fetching.wire(), fetching.wire()
    first = one.begin("models.pull", model=f"hf:{REPO}:Q4_K_M")
    second = two.begin("models.pull", model=f"hf:{REPO}:F16")
    assert hub.again.wait(60), "neither waits for the other"
    hub.go.set()
    assert one.until(first)[0]["result"]["size_bytes"] == len(MODEL)
    assert two.until(second)[0]["result"]["size_bytes"] == len(OTHER)


def test_a_full_disk_is_found_out_before_a_byte_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = hub_process.File("Tiny-Q4_K_M.gguf", 1 << 40, "")
    monkeypatch.setattr(hub_process, "ask", lambda repo, _: hub_process.Wanted(repo, "0" * 40, [file]))
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1 << 30}))
    with pytest.raises(FetchFailed, match=r"1048640 MB more are needed in .*, 1024 MB are free") as caught:
        hub_process.fetch(REPO, "", tmp_path)
    assert caught.value.facts["reason"] == "disk"
    assert hub.ranges == []


def test_a_disk_that_fills_up_meanwhile_is_not_taken_for_a_cut(hub: Hub, tmp_path: Path) -> None:
    """No file may be larger than 100 kB: to the process, that is a full disk."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"from {hub_process.__name__} import main\n"
        "sys.exit(main(*sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, REPO, "Q4_K_M", str(tmp_path)],
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": "", "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.PIPE,
        check=False,
    )
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (done.returncode, *why(error)) == (1, "FetchFailed", "disk")
    assert "could not be stored" in error["message"]
    assert len(hub.ranges) == 1


def test_a_cancelled_pull_keeps_what_has_come(fetching: Daemon, hub: Hub) -> None:
    hub.cuts, hub.free = [50_000], 1
    hub.go.clear()
    wire = fetching.wire()
    id = wire.begin("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert hub.again.wait(60)
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
    assert wire.until(id)[0]["error"]["code"] == -32800
    hub.go.set()
    fetching.wire().call("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert all(asked.endswith("bytes=50000-") for asked in hub.ranges[1:])


def test_a_private_one_says_how_to_get_in(fetching: Daemon, hub: Hub) -> None:
    hub.token = "secret"
    error = fetching.wire().fail("models.pull", model=f"hf:{REPO}")
    assert error["data"]["kind"] == "ModelNotFound"  # the hub does not tell a private one from none
    assert "HF_TOKEN" in error["message"]


def test_a_gated_one_says_how_to_get_in(fetching: Daemon, hub: Hub) -> None:
    hub.token, hub.gated = "secret", True
    error = fetching.wire().fail("models.pull", model=f"hf:{REPO}")
    assert why(error) == ("FetchFailed", "gated")
    assert f"accept its terms on {hub.url}/{REPO}" in error["message"]


@pytest.mark.parametrize(
    ("refusal", "reason"), [((401, "GatedRepo"), "gated"), ((401, ""), "forbidden"), ((403, ""), "forbidden")]
)
def test_files_that_are_not_given_out(fetching: Daemon, hub: Hub, refusal: tuple[int, str], reason: str) -> None:
    hub.refusal = refusal
    error = fetching.wire().fail("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert why(error) == ("FetchFailed", reason)
    assert "HF_TOKEN" in error["message"]


def test_a_file_that_has_gone_meanwhile_is_not_found(fetching: Daemon, hub: Hub) -> None:
    hub.refusal = (404, "EntryNotFound")
    assert fetching.wire().fail("models.pull", model=f"hf:{REPO}:Q4_K_M")["data"]["kind"] == "ModelNotFound"


@pytest.mark.parametrize(("status", "reason"), [(403, "forbidden"), (503, "network")])
def test_a_hub_that_does_not_answer_the_question(fetching: Daemon, hub: Hub, status: int, reason: str) -> None:
    hub.status = (status, "")
    assert why(fetching.wire().fail("models.pull", model=f"hf:{REPO}")) == ("FetchFailed", reason)


def test_a_fetch_that_is_killed_is_reported(fetching: Daemon, hub: Hub) -> None:
    hub.go.clear()
    wire = fetching.wire()
    id = wire.begin("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert hub.asked.wait(60)
    children = Path(f"/proc/{fetching.pid}/task/{fetching.pid}/children").read_text().split()
    (process,) = [int(pid) for pid in children if b"hub_process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(process, signal.SIGKILL)
    error = wire.until(id)[0]["error"]
    assert (error["data"]["kind"], error["data"].get("reason")) == ("FetchFailed", None)
    assert "ended with code -9" in error["message"]


def test_the_token_opens_it(hub: Hub, tmp_path: Path) -> None:
    hub.token = "secret"
    (tmp_path / "token").write_text("secret")  # as `hf auth login` leaves it
    for daemon in running(
        THREADRUNNER_BACKEND="llama", THREADRUNNER_OFFLINE="", HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path), HF_TOKEN=""
    ):
        daemon.wire().call("models.pull", model=f"hf:{REPO}:Q4_K_M")


def test_the_token_goes_to_nobody_else(hub: Hub, tmp_path: Path) -> None:
    hub.token, hub.elsewhere, hub.cuts = "secret", True, [50_000]
    for daemon in running(
        THREADRUNNER_BACKEND="llama", THREADRUNNER_OFFLINE="", HF_ENDPOINT=hub.url, HF_TOKEN="secret",
        HF_HOME=str(tmp_path), NO_PROXY="127.0.0.1,localhost",
    ):  # fmt: skip
        daemon.wire().call("models.pull", model=f"hf:{REPO}:Q4_K_M")
    assert hub.strangers_saw == [None, None]
    assert hub.ranges[1].endswith("bytes=50000-")


def test_a_repository_that_is_not_there(fetching: Daemon) -> None:
    error = fetching.wire().fail("models.pull", model="hf:no/where")
    assert error["data"] == {"kind": "ModelNotFound", "model": "hf:no/where"}
    assert "no such repository" in error["message"]


@pytest.mark.parametrize("name", ["hf:", "hf:one", "hf:../../etc", "hf:a/../b", "hf:a/b/c", "hf:a/.b"])
def test_a_name_that_is_none(fetching: Daemon, name: str) -> None:
    assert "hf:owner/repo" in fetching.wire().fail("models.pull", model=name)["message"]


def test_no_hub_at_all(tmp_path: Path) -> None:
    for daemon in running(
        THREADRUNNER_BACKEND="llama", THREADRUNNER_OFFLINE="", HF_ENDPOINT="http://127.0.0.1:1", HF_HOME=str(tmp_path)
    ):
        error = daemon.wire().fail("models.pull", model=f"hf:{REPO}")
        assert why(error) == ("FetchFailed", "network")
        assert "is there a network?" in error["message"]
