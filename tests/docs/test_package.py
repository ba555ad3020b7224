"""The wheel and the source archive: what is in them, and that what is in the wheel runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True, timeout=120)
    return folder


def files_of_the_package() -> set[str]:
    tracked = subprocess.run(["git", "ls-files", "threadrunner"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:  # an archive without its history
        pytest.skip("not in a checkout: git does not say which files are ours")
    return set(tracked.stdout.split())


def test_the_wheel_has_every_file_of_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert files_of_the_package() <= inside
    assert "threadrunner/daemon/models/catalog.toml" in inside and "threadrunner/http/page/index.html" in inside
    assert not {name for name in inside if name.startswith(("tests/", "docs/"))}
    assert wheel.stat().st_size < 2_000_000


def test_the_wheel_brings_the_manual_page_and_completions_to_where_they_are_looked_for(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".data/data/" in name]
        shared = {name.partition(".data/data/")[2]: archive.read(name).decode() for name in names}
    assert shared["share/man/man1/threadrunner.1"].startswith(".TH THREADRUNNER 1 ")
    for place in (
        "bash-completion/completions/threadrunner",
        "zsh/site-functions/_threadrunner",
        "fish/vendor_completions.d/threadrunner.fish",
    ):
        assert "recommend" in shared[f"share/{place}"]


def test_the_source_archive_can_be_built_from(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    assert {"pyproject.toml", ".packaging/rendered_files.py", "LICENSE", "README.md"} | files_of_the_package() <= inside


def test_no_text_has_us_installed_from_an_index() -> None:
    """We are on none: whoever has our name there may be a stranger."""
    for top in ("docs", "editors", "threadrunner"):
        for folder, inner, files in os.walk(ROOT / top):
            inner[:] = [name for name in inner if name not in ("node_modules", "dist", "__pycache__")]
            for name in files:
                assert b"pip install threadrunner" not in Path(folder, name).read_bytes(), f"{folder}/{name}"
    assert b"pip install threadrunner" not in (ROOT / "README.md").read_bytes()


def test_what_is_in_the_wheel_runs(built: Path, tmp_path: Path) -> None:
    """In a folder of its own, with what this environment has beside it: not a file of the checkout is used."""
    (wheel,) = built.glob("*.whl")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path),
        str(wheel),
    ]
    subprocess.run(command, check=True, timeout=120)
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "THREADRUNNER_HOME": str(tmp_path / "home")}
    script = "import threadrunner as t, threadrunner.daemon.models.known as k; print(t.__file__); print(len(k.known()))"
    where, count = _said([sys.executable, "-P", "-c", script], env, tmp_path).splitlines()
    assert Path(where).is_relative_to(tmp_path) and int(count) > 30
    assert _said([sys.executable, "-m", "threadrunner", "--version"], env, tmp_path).startswith("threadrunner ")


def _said(command: list[str], env: dict[str, str], folder: Path) -> str:
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout
