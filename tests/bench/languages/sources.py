"""Real files of many languages, fetched from the registries' packages (Debian, npm) into a folder of the machine's own.

A package is fetched once, by the registry's ordinary client, and unpacked; nothing of it runs. Python's files are the
standard library's own. Which files, and their order, depends on their paths alone.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path.home() / ".cache" / "threadrunner-bench"
SMALLEST, LARGEST = 1_500, 60_000
"""Characters of a file that is used."""
LONGEST_LINE = 300
"""Characters; a file with a longer line is generated."""


@dataclass(frozen=True)
class Source:
    language: str
    """As LSP names it."""
    grammar: str
    """As the language pack of tree-sitter names it."""
    packages: tuple[str, ...]
    """`npm:NAME@VERSION` or `debian:NAME`; none: the standard library."""
    glob: str


SOURCES = (
    Source("python", "python", (), "*.py"),
    Source("javascript", "javascript", ("npm:express@5.3.0", "npm:commander@14.0.3", "npm:fastify@5.12.8"), "*.js"),
    Source("typescript", "typescript", ("npm:rxjs@7.8.2",), "src/**/*.ts"),
    Source("c", "c", ("debian:uthash-dev", "debian:libstb-dev"), "*.[ch]"),
    Source("cpp", "cpp", ("debian:nlohmann-json3-dev", "debian:libfmt-dev"), "*.h*"),
    Source("rust", "rust", ("debian:librust-itertools-dev", "debian:librust-anyhow-dev"), "*.rs"),
    Source("go", "go", ("debian:golang-github-spf13-cobra-dev", "debian:golang-github-gorilla-mux-dev"), "*.go"),
    Source("java", "java", ("npm:@capacitor/android@8.5.2",), "*.java"),
    Source("ruby", "ruby", ("debian:ruby-rack", "debian:rake", "debian:ruby-thor"), "*.rb"),
    Source("lua", "lua", ("debian:lua-penlight",), "*.lua"),
    Source("emacs-lisp", "elisp", ("debian:elpa-company", "debian:elpa-dash"), "*.el"),
    Source("lisp", "commonlisp", ("debian:cl-alexandria", "debian:cl-ppcre"), "*.lisp"),
    Source("shellscript", "bash", ("debian:bash-completion", "debian:dkms"), "completions/*"),
    Source("css", "css", ("npm:bootstrap@5.3.9",), "dist/css/*[a-z].css"),
    Source("html", "html", ("debian:libstb-dev", "debian:uthash-dev", "debian:cl-ppcre"), "*.html"),
    Source(
        "markdown", "markdown",
        ("npm:fastify@5.12.8", "npm:commander@14.0.3", "npm:rxjs@7.8.2", "npm:express@5.3.0"), "*.md",
    ),
)  # fmt: skip


def files(source: Source, folder: Path = FOLDER) -> list[tuple[str, str]]:
    """(name, text) of the source's files, those of different folders mixed. Raises CalledProcessError where a package
    cannot be fetched."""
    roots = [fetched(package, folder) for package in source.packages] or [Path(sysconfig.get_path("stdlib"))]
    here = "*.py" if not source.packages else ""
    found: list[tuple[str, str]] = []
    for root in roots:
        paths = root.glob(here) if here else root.rglob(source.glob)
        named = sorted((str(path.relative_to(root)), path) for path in paths)
        found += [(name, text) for name, path in named if (text := _usable(path)) is not None]
    return list({text: (name, text) for name, text in found}.values())


def _usable(path: Path) -> str | None:
    if not path.is_file() or not SMALLEST <= path.stat().st_size <= 4 * LARGEST:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    if not SMALLEST <= len(text) <= LARGEST or "\0" in text or "\r" in text:
        return None
    return text if max(map(len, text.split("\n"))) <= LONGEST_LINE else None


def fetched(package: str, folder: Path) -> Path:
    """The folder that the package was unpacked into."""
    registry, _, name = package.partition(":")
    target = folder / package.replace("/", "+").replace(":", "+")
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        unpacked = Path(work) / "unpacked"
        unpacked.mkdir()
        if registry == "npm":
            subprocess.run(["npm", "pack", "--silent", name], cwd=work, check=True, stdout=subprocess.DEVNULL)
            with tarfile.open(next(Path(work).glob("*.tgz"))) as archive:
                archive.extractall(unpacked, filter="data")
        else:
            subprocess.run(["apt-get", "download", "-qq", name], cwd=work, check=True, stderr=subprocess.DEVNULL)
            subprocess.run(["dpkg", "-x", str(next(Path(work).glob("*.deb"))), str(unpacked)], check=True)
        shutil.move(unpacked, target)
    return target
