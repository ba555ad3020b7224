"""A stand-in daemon whose answers fit the test's keys, and the VS Code extension as it is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.support import EDITORS, clean_env, program
from tests.lsp.standin import Standin, standing


@pytest.fixture
def standin() -> Iterator[Standin]:
    yield from standing()


@pytest.fixture(scope="session")
def vsix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Type-checked, bundled and packaged from a copy, so that nothing is written beside the sources."""
    source = EDITORS / "vscode"
    npm = program("npm")
    if not (source / "node_modules").is_dir():
        pytest.skip("npm has not installed the extension's packages (tests/clients/install_editors.sh)")
    copy = tmp_path_factory.mktemp("extension") / "vscode"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "node_modules").symlink_to(source / "node_modules")
    env = clean_env(npm_config_update_notifier="false")
    done = subprocess.run(
        [npm, "run", "package"], cwd=copy, env=env, capture_output=True, timeout=120, check=False, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "dist" / "threadrunner.vsix"
