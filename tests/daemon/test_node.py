"""A client that is not ours and not Python: Microsoft's vscode-jsonrpc, over the daemon's socket."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import python_path
from tests.support import PATIENCE, Daemon, running

NODE = Path(__file__).parent / "node"


@pytest.fixture
def mixed(plugin: Path) -> Iterator[Daemon]:
    yield from running(PYTHONPATH=python_path(plugin))


def test_vscode_jsonrpc_streams_cancels_and_gets_our_errors(mixed: Daemon) -> None:
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    if not (NODE / "node_modules" / "vscode-jsonrpc").exists():
        pytest.skip(f"vscode-jsonrpc is not installed: run `npm install` in {NODE}")
    done = subprocess.run(
        ["node", "client.cjs", mixed.socket], cwd=NODE, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    want = "lorem ipsum dolor sit amet Grüße. 🌍."
    assert (seen["text"], seen["streamed"]) == (want, want)
    assert seen["many"] == [f"lorem ipsum dolor sit amet number. {n}." for n in range(20)]
    assert (seen["cancelled"], seen["unknown"], seen["pid"]) == (-32800, -32601, mixed.pid)
    assert seen["invalid"] == {"kind": "InvalidParams"}
