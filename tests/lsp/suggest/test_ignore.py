"""What is kept from the model, with git itself as the judge of .gitignore."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from threadrunner.lsp.suggest.ignore import Ignore, secret
from threadrunner.lsp.suggest.naming import judged_path

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
        *[
            ".Renviron",
            ".flaskenv",
            ".dev.vars",
            ".dev.vars.local",
            ".secrets.toml",
            ".s3cfg",
            "rclone.conf",
            "kubeconfig",
            "wp-config.php",
        ],
        *[
            "local.settings.json",
            "vault.yml",
            "prod.tfvars",
            ".pgpass",
            ".env-prod",
            "app-secrets.yaml",
            ".boto",
            "token.json",
            "wg0.conf",
        ],
        *[
            ".env~",
            "#.env#",
            ".env.bak",
            ".env.swp",
            ".env<2>",
            "id_rsa.old",
            "server.pem.orig",
            ".env.git",
            "secrets.yaml.~1~",
        ],
        "home/.gradle/gradle.properties",
        ".m2/settings.xml",
        ".config/gh/hosts.yml",
    ],
)
def test_secrets(path: str) -> None:
    assert secret(path)


@pytest.mark.parametrize(
    "path",
    [
        "main.py",
        "environment.py",
        "keyboard.py",
        "secretary.py",
        ".env.example",
        "env.py",
        "secrets.yaml.sample",
        "prod.tfvars.example",
        "gradle.properties",
        "hosts.yml",
        "settings.xml",
        "tokenizer.py",
        "passwords.py",
        "history.py",
        "main.py~",
        "vite-env.d.ts",
    ],
)
def test_not_secrets(path: str) -> None:
    assert not secret(path)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///w/a%20b.py", "/w/a b.py"),
        ("untitled:/w/.env", "/w/.env"),
        ("untitled:.env", ".env"),
        ("untitled:Untitled-1", "Untitled-1"),
        ("git:/w/.env?%7B%22path%22%3A%22%2Fw%2F.env%22%2C%22ref%22%3A%22%22%7D", "/w/.env"),
        ("git:/w/key.pem.git?%7B%22path%22%3A%22%2Fw%2Fkey.pem%22%7D", "/w/key.pem"),
        ("vscode-remote://ssh-remote%2Bhost/w/.env", "/w/.env"),
        ("vscode-vfs://github/o/r/.env", "/o/r/.env"),
        ("vscode-notebook-cell:/w/a.ipynb#W0s", "/w/a.ipynb"),
        ("fugitive:///w/.git//0/.env", "/w/.git//0/.env"),
        ("scp://host//etc/.env", "//etc/.env"),
        ("zipfile:/w/a.zip::inner/.env", "inner/.env"),
        ("file:///c%3A%5Cw%5C.env", "/c:/w/.env"),
        ("git:/w/a.py?[1]", "/w/a.py"),
        ("", ""),
    ],
)
def test_the_path_that_a_uri_is_about(uri: str, path: str) -> None:
    assert judged_path(uri) == path


def test_a_link_to_a_secret_is_one(tmp_path: Path) -> None:
    (tmp_path / "id_rsa").touch()
    (tmp_path / "notes.txt").symlink_to(tmp_path / "id_rsa")
    (tmp_path / "plain.txt").touch()
    (tmp_path / "other.txt").symlink_to(tmp_path / "plain.txt")
    ignore = Ignore([str(tmp_path)])
    assert not ignore.completes(str(tmp_path / "notes.txt"))
    assert ignore.completes(str(tmp_path / "other.txt"))
    (tmp_path / "outside" / ".aws").mkdir(parents=True)
    work = tmp_path / "secrets" / "work"
    work.mkdir(parents=True)
    (work / "conf").symlink_to(tmp_path / "outside" / ".aws")
    (tmp_path / "link").symlink_to(work)
    behind = Ignore([str(tmp_path / "link")])
    assert not behind.completes(str(tmp_path / "link" / "conf" / "config"))
    assert behind.completes(str(tmp_path / "link" / "a.py")), "a project may itself be in a `secrets`, behind a link"
    assert ignore.completes("/w/\ud83d\0.py") and ignore.completes("Untitled-1") and not ignore.completes(".env")


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
