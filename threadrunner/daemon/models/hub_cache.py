"""The cache of huggingface_hub (`hf download`, transformers): links in snapshots, files by their sum. Blocking."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from threadrunner.daemon.models import selection
from threadrunner.daemon.models.folders import folders_in

KEEPER = "the Hugging Face cache"

_PREFIX = "models--"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def models() -> Iterator[tuple[str, str, str]]:
    """(repository, file in it, path) of each model, of a repository's newest snapshot that has one."""
    for folder in folders_in(_folder()):
        owner, separator, name = folder.removeprefix(_PREFIX).partition("--")
        if not folder.startswith(_PREFIX) or not separator:
            continue
        for snapshot in _snapshots(f"{owner}/{name}"):
            if whole := [parts for first in selection.firsts(_files(snapshot)) if (parts := _whole(snapshot, first))]:
                yield from ((f"{owner}/{name}", first, os.path.join(snapshot, first)) for first, *_ in whole)
                break


def find(repo: str, wanted: str) -> str | None:
    """The path of the model's first file, if all its files have been fetched; `wanted` as in selection.choose."""
    for snapshot in _snapshots(repo):
        try:
            first, *_ = selection.choose(_files(snapshot), wanted)
        except selection.NoMatch:
            continue
        if _whole(snapshot, first):
            return os.path.join(snapshot, first)
    return None


def _folder() -> str:
    """As huggingface_hub has it."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return os.path.expanduser(named)


def _snapshots(repo: str) -> list[str]:
    """Folders of the repository's files as they were at some commit, the one that `main` was last seen at first."""
    place = os.path.join(_folder(), _PREFIX + repo.replace("/", "--"))
    commits = [name for name in folders_in(os.path.join(place, "snapshots")) if _COMMIT.fullmatch(name)]
    main = _main(os.path.join(place, "refs", "main"))
    return [os.path.join(place, "snapshots", name) for name in sorted(commits, key=lambda name: name != main)]


def _main(ref: str) -> str:
    try:
        if not os.path.isfile(ref):
            return ""
        with open(ref, "rb") as file:
            return file.read(40).decode("ascii", "replace")
    except OSError:
        return ""


def _files(snapshot: str) -> list[str]:
    """Paths in the snapshot, relative to it."""
    return [
        os.path.relpath(os.path.join(folder, name), snapshot)
        for folder, _, names in os.walk(snapshot)
        for name in names
        if name.endswith(".gguf")
    ]


def _whole(snapshot: str, first: str) -> list[str]:
    """The model's files; empty unless all are here."""
    files = selection.parts(first)
    return files if all(os.path.isfile(os.path.join(snapshot, file)) for file in files) else []
