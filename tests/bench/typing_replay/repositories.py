"""Stretches of real files to be typed again, by repository: those that the prior was trained on, and those to judge by.

Python's are the standard library and installed packages; others are fetched as lsp_languages.py does, once.
"""

from __future__ import annotations

import random
import re
import sysconfig
import zlib
from dataclasses import dataclass
from pathlib import Path

from languages.sources import FOLDER, fetched

SMALLEST, LARGEST = 2_000, 40_000
"""Characters of a file that is used."""
LONGEST_LINE = 200
LINES = 10
"""Lines of a stretch."""
CODE_LINES = 8
"""Of these, at least so many are neither blank nor a comment."""

_COMMENT = re.compile(r"\s*(#|//|/?\*|--)")


@dataclass(frozen=True)
class Repository:
    name: str
    language: str
    root: str
    """`npm:NAME@VERSION`, `debian:NAME`, `package:NAME` of Python's site-packages, or `stdlib:FOLDER`."""
    glob: str
    files: int


TRAINING = (
    Repository("stdlib", "python", "stdlib:", "*.py", 6),
    Repository("commander", "javascript", "npm:commander@14.0.3", "**/lib/*.js", 5),
    Repository("rack", "ruby", "debian:ruby-rack", "**/rack/*.rb", 5),
    Repository("mux", "go", "debian:golang-github-gorilla-mux-dev", "**/*.go", 4),
)
"""Never judged by: the prior that is shipped has seen them."""
JUDGED = (
    Repository("rxjs", "typescript", "npm:rxjs@7.8.2", "**/src/internal/operators/*.ts", 8),
    Repository("jinja2", "python", "package:jinja2", "*.py", 8),
    Repository("fastify", "javascript", "npm:fastify@5.12.8", "**/lib/*.js", 8),
    Repository("cobra", "go", "debian:golang-github-spf13-cobra-dev", "**/*.go", 8),
)


@dataclass(frozen=True)
class Stretch:
    """Lines of a file that are typed: `text[start:end]`, whole lines."""

    repository: str
    language: str
    file: str
    text: str
    start: int
    end: int

    @property
    def typed(self) -> str:
        return self.text[self.start : self.end]


def stretches(repository: Repository, folder: Path = FOLDER) -> list[Stretch]:
    """One of each file, in an order that the paths alone decide."""
    root = _root(repository.root, folder)
    found: list[Stretch] = []
    paths = sorted(path for path in root.glob(repository.glob) if path.is_file())
    order = random.Random(zlib.crc32(repository.name.encode()))
    order.shuffle(paths)
    for path in paths:
        if len(found) == repository.files:
            break
        if (stretch := _stretch(repository, path, root)) is not None:
            found.append(stretch)
    return found


def _root(root: str, folder: Path) -> Path:
    kind, _, name = root.partition(":")
    if kind == "stdlib":
        return Path(sysconfig.get_path("stdlib")) / name
    if kind == "package":
        return Path(sysconfig.get_path("purelib")) / name
    return fetched(root, folder)


def _stretch(repository: Repository, path: Path, root: Path) -> Stretch | None:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    if not SMALLEST <= len(text) <= LARGEST or "\r" in text or "\0" in text or max(map(len, lines)) > LONGEST_LINE:
        return None
    begins = [n for n in range(len(lines) // 4, len(lines) - LINES - 2) if _fit(lines[n : n + LINES])]
    if not begins:
        return None
    name = str(path.relative_to(root))
    first = random.Random(zlib.crc32(name.encode())).choice(begins)
    start = sum(len(line) + 1 for line in lines[:first])
    end = start + sum(len(line) + 1 for line in lines[first : first + LINES])
    return Stretch(repository.name, repository.language, name, text, start, end)


def _fit(lines: list[str]) -> bool:
    code = sum(bool(line.strip()) and not _COMMENT.match(line) for line in lines)
    return code >= CODE_LINES and bool(lines[0].strip()) and '"""' not in "".join(lines)
