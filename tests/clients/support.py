"""Finding editors, and files of the kinds that editors treat differently."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
EDITORS = ROOT / "editors"
SERVER = [sys.executable, "-m", "threadrunner", "lsp"]
"""As it is started for pictures; for tests, nursery.py has what costs less."""


def program(*names: str) -> str:
    """Where an editor is, by the first of its names: on the path, or in the virtual environment that runs the tests."""
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{Path(sys.executable).parent}"
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    pytest.skip(f"{names[0]} is not installed (tests/clients/install_editors.sh)")


@dataclass(frozen=True)
class Case:
    """A file with a cursor (the `|`), what is typed there and what is suggested then."""

    name: str
    marked: str
    keys: str
    says: str

    @property
    def end(self) -> str:
        """What ends the file's lines."""
        return "\r\n" if "\r\n" in self.marked else "\n"

    @property
    def before(self) -> bytes:
        return self.marked.replace("|", "", 1).encode()

    @property
    def head(self) -> str:
        return self.marked.partition("|")[0]

    @property
    def prefix(self) -> str:
        """What the daemon is given once the keys have been typed."""
        return (self.head + self.keys).replace("\r\n", "\n")

    @property
    def line(self) -> int:
        return self.head.count("\n")

    @property
    def column(self) -> int:
        """In bytes, from 0."""
        return len(self.head.rpartition("\n")[2].encode())

    @property
    def after(self) -> bytes:
        """The file once the suggestion is accepted."""
        return self.marked.replace("|", self.keys + self.says.replace("\n", self.end), 1).encode()

    def answer(self, params: dict[str, Any]) -> str:
        """As a stand-in daemon says it: nothing before all keys are typed."""
        return self.says if params["prefix"] == self.prefix else ""


CASES = [
    Case("plain", "def f():\n    |\nx = 1\n", "ret", "urn 1\n    # done"),
    Case("mid-line", "print(|)\nx = 1\n", "'", "a', 'b'"),
    Case("tabs", "if x:\n\ta = 1\n\t|\n", "b", " = 2\n\tif b:\n\t\tc = 3"),
    Case("crlf", "def f():\r\n    |\r\nx = 1\r\n", "a", " = 1\n    b = 2"),
    Case("no newline", "x = |", "1", " + 2\ny = 3"),
    Case("empty", "|", "i", "mport os\n\nimport sys"),
    Case("astral", "s = 'é😀'\nt = |\n", "'", "😀€ ünï'\nu = '🦀'"),
    Case("specials", "x = |\n", "f", "'{a}${b}\\n' % {c}\n`d` $0 ${1:e} |"),
]
IDS = [case.name for case in CASES]


def clean_env(**ours: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("THREADRUNNER_", "XDG_", "NVIM", "VIM", "EMACS"))}
    return {**kept, **ours}
