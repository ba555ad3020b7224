"""What is kept from the model, with git itself as the judge of .gitignore."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from threadrunner.lsp.suggest.ignore import Ignore, secret

PATTERNS = "*.log\n!keep.log\nbuild/\n/only_root.py\n**/gen/*.py\ndocs/**/x.md\na?c.txt\n\\#odd\n# comment\n\n"
NAMES = [
    "a.log", "keep.log", "sub/a.log", "sub/keep.log", "build/x.py", "sub/build/y.py", "only_root.py",
    "sub/only_root.py", "gen/a.py", "sub/gen/b.py", "docs/x.md", "docs/a/b/x.md", "abc.txt", "abbc.txt", "#odd",
    "sub/special.py", "sub/other.py", "main.py",
]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "a/.env.local",
        "id_rsa",
        "id_ed25519.pub",
        "x/server.key",
        ".ssh/config",
        "credentials.json",
        "secrets.yaml",
        "db_secret.py",
        ".AWS/config",
    ],
)
def test_secrets(path: str) -> None:
    assert secret(path)


@pytest.mark.parametrize("path", ["main.py", "environment.py", "keyboard.py", "secretary.py", ".env.example", "env.py"])
def test_not_secrets(path: str) -> None:
    assert not secret(path)


def test_gitignore_as_git_has_it(tmp_path: Path) -> None:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    (tmp_path / ".gitignore").write_text(PATTERNS)
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "sub" / ".gitignore").write_text("special.py\n!a.log\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    ours = Ignore([str(tmp_path)])
    for name in NAMES:
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        theirs = subprocess.run(["git", "check-ignore", "-q", "--", name], cwd=tmp_path, env=env, check=False)
        assert ours.shows(str(tmp_path / name)) == (theirs.returncode != 0), name


def test_our_own_file_also_ends_suggestions(tmp_path: Path) -> None:
    (tmp_path / ".threadrunnerignore").write_text("private/\n")
    (tmp_path / ".gitignore").write_text("built.py\n")
    ignore = Ignore([str(tmp_path)])
    assert not ignore.completes(str(tmp_path / "private" / "a.py"))
    assert ignore.completes(str(tmp_path / "built.py"))
    assert not ignore.shows(str(tmp_path / "built.py"))
    (tmp_path / ".threadrunnerignore").write_text("")
    assert ignore.completes(str(tmp_path / "private" / "a.py"))


def test_the_innermost_of_several_roots(tmp_path: Path) -> None:
    inner = tmp_path / "secrets" / "project"
    inner.mkdir(parents=True)
    ignore = Ignore([str(tmp_path), str(inner)])
    assert ignore.root_of(str(inner / "a.py")) == str(inner)
    assert ignore.completes(str(inner / "a.py"))
    assert not ignore.completes(str(tmp_path / "secrets" / "a.py"))
    assert Ignore([]).root_of("/x/a.py") is None
