"""`threadrunner cluster`, as far as it goes without Ray: mistakes, and what is not there."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from threadrunner import exits
from threadrunner.api.errors import InvalidParams
from threadrunner.cli.commands import cluster
from threadrunner.cluster import launcher, nodes, settings

FILE = """
address = "{address}"
keys = "{keys}"
[models.small]
model = "smollm2:135m"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = tmp_path / "team.toml"
    path.write_text(FILE.format(address="127.0.0.1", keys=""))
    return path


@pytest.fixture
def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were installed: what is tested comes before it is used."""
    monkeypatch.setattr(launcher, "_need_ray", lambda: None)


def said(capfd: pytest.CaptureFixture[str], action: str, file: Path, **given: Any) -> tuple[int, str, str]:
    """Exit code and what it wrote."""
    options = argparse.Namespace(**{"file": str(file), "node": "", "has": [], "print": False, "json": False, **given})
    code = getattr(cluster, action)(options)
    printed = capfd.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize("action", ["up", "status"])
def test_without_ray_it_says_what_to_install(
    file: Path, action: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, told = said(capfd, action, file)
    assert (code, "pip install 'threadrunner[cluster]'" in told) == (exits.USAGE, True)


@pytest.mark.parametrize("action", ["up", "status", "down"])
def test_a_mistake_in_the_file(file: Path, action: str, capfd: pytest.CaptureFixture[str]) -> None:
    file.write_text("port = 0\n")
    with pytest.raises(InvalidParams, match=r"team\.toml: port must be a number from 1 to 65535"):
        said(capfd, action, file)


def test_nothing_that_runs(file: Path, with_ray: None, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, told = said(capfd, "status", file)
    assert (code, "nothing of team runs on this machine; `threadrunner cluster up FILE`" in told) == (2, True)
    code, _, told = said(capfd, "down", file)
    assert (code, "nothing of team ran here" in told) == (0, True)


def test_the_configuration_is_printed_and_nothing_is_started(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.write_text(FILE.format(address="127.0.0.1", keys="auto"))
    code, printed, _ = said(capfd, "up", file, print=True)
    assert code == 0
    (app,) = json.loads(printed)["applications"]
    where = nodes.places(settings.read(str(file)))
    key = Path(where.folder, "keys").read_text().strip()
    assert (app["name"], len(app["args"]["keys"])) == ("small", 1)
    assert key not in printed
    assert nodes.running(where) == []


def test_a_machine_that_joins_needs_the_first_ones_token(
    file: Path, with_ray: None, capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text(FILE.format(address="192.0.2.1", keys=""))
    code, _, told = said(capfd, "up", file)
    token = nodes.places(settings.read(str(file))).token
    assert (code, f"copy it from the first machine, 192.0.2.1, to {token}" in told) == (2, True)
    os.makedirs(os.path.dirname(token), exist_ok=True)
    Path(token).write_text("secret")
    Path(token).chmod(0o644)
    assert "run `chmod 600" in said(capfd, "up", file)[2]


def test_keys_that_will_not_do(file: Path, with_ray: None, capfd: pytest.CaptureFixture[str]) -> None:
    file.write_text(FILE.format(address="127.0.0.1", keys="file:/nowhere/keys"))
    code, _, told = said(capfd, "up", file)
    assert (code, "/nowhere/keys: No such file" in told) == (2, True)


def test_a_label_that_no_model_asks_for(file: Path, with_ray: None, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, told = said(capfd, "up", file, has=["bigg"])
    assert (code, "no model needs bigg" in told) == (exits.USAGE, True)
