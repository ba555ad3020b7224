"""VS Code: its own protocol library from Node, and the extension built, type-checked and packaged."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.clients.support import CASES, EDITORS, IDS, Case, clean_env, program
from tests.lsp.nursery import forked
from tests.lsp.standin import Standin

NODE = Path(__file__).parent / "node"


def run(standin: Standin, tmp_path: Path, case: Case) -> dict[str, Any]:
    line = case.head.rpartition("\n")[2]
    asked = {
        "command": forked("lsp"),
        "text": case.before.decode(),
        "line": case.line,
        "character": len(line.encode("utf-16-le")) // 2,
        "keys": list(case.keys),
    }
    file = tmp_path / "case.json"
    file.write_text(json.dumps(asked))
    command = [program("node"), str(NODE / "client.mjs"), str(file)]
    done = subprocess.run(
        command, env={**clean_env(), **standin.env}, capture_output=True, timeout=60, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_its_protocol_library_accepts_exactly(standin: Standin, tmp_path: Path, case: Case) -> None:
    if not (NODE / "node_modules").is_dir():
        pytest.skip("npm has not installed the client's packages (tests/clients/install_editors.sh)")
    standin.says = case.answer
    found = run(standin, tmp_path, case)
    assert found["text"].encode() == case.after
    assert found["code"] == 0
    assert found["capabilities"]["positionEncoding"] == "utf-16"
    assert set(found["cancelled"]) <= {-32800, "answered"}
    assert found["status"]["suggestions"]["accepted"] == 1


def test_the_extension_is_packaged(vsix: Path) -> None:
    with zipfile.ZipFile(vsix) as package:
        names = package.namelist()
        assert "extension/dist/extension.js" in names
        assert not [name for name in names if "node_modules" in name or name.endswith(".ts")]
        manifest = json.loads(package.read("extension/package.json"))
    assert manifest["main"] == "./dist/extension.js"


def test_its_settings_are_the_servers() -> None:
    """What the extension offers is what the server takes, with the same defaults."""
    from threadrunner.lsp.suggest.settings import Settings, parse

    manifest = json.loads((EDITORS / "vscode" / "package.json").read_text())
    offered = manifest["contributes"]["configuration"]["properties"]
    defaults = {name.removeprefix("threadrunner."): value["default"] for name, value in offered.items()}
    del defaults["command"]
    assert parse(defaults) == Settings()
    source = (EDITORS / "vscode" / "src" / "extension.ts").read_text()
    assert all(f'"{name}"' in source for name in defaults)
