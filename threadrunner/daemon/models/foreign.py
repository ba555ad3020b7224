"""Models that other programs have fetched: used where they are, never changed. Blocking."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

from threadrunner.daemon.models import selection

STORES = {"ollama": "Ollama", "lmstudio": "LM Studio"}

_LMSTUDIO_FOLDERS = ("~/.lmstudio/models", "~/.cache/lm-studio/models")
_MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_OLLAMA_NAME = re.compile(r"(?:(?!library/)([^/:.][^/:]*)/)?([^/:.][^/:]*)(?::([^/:.][^/:]*))?")
_LMSTUDIO_NAME = re.compile(r"([^/:.][^/:]*/[^/:.][^/:]*):([^/:]+)")
_MAX_MANIFEST_BYTES = 1 << 20


def models(source: str) -> list[tuple[str, str]]:
    """(name, path) of each model in that store, if it exists."""
    return sorted(_ollama() if source == "ollama" else _lmstudio())


def find(source: str, name: str) -> str | None:
    """The path of the model that `models` lists as `source:name`, or, for Ollama, as `source:name:latest`.

    Only that model's own folders are looked at: a store may have hundreds.
    """
    paths = _ollama_paths(name) if source == "ollama" else _lmstudio_paths(name)
    return next(paths, None)


def _ollama_paths(name: str) -> Iterator[str]:
    if match := _OLLAMA_NAME.fullmatch(name):
        owner, model, tag = match[1] or "library", match[2], match[3] or "latest"
        for store in _ollama_folders():
            if path := _blob(store, os.path.join(_registry(store), owner, model, tag)):
                yield path


def _lmstudio_paths(name: str) -> Iterator[str]:
    if match := _LMSTUDIO_NAME.fullmatch(name):
        for folder in map(os.path.expanduser, _LMSTUDIO_FOLDERS):
            path = os.path.join(folder, match[1], match[2])
            if selection.firsts([match[2]]) and os.path.lexists(path):
                yield path


def repositories(folder: str) -> list[tuple[str, str]]:
    """Folders two below, as owner and repository: our own layout for the hub's files, and LM Studio's."""
    return sorted((owner, repo) for owner in _folders(folder) for repo in _folders(os.path.join(folder, owner)))


def _lmstudio() -> Iterator[tuple[str, str]]:
    for folder in map(os.path.expanduser, _LMSTUDIO_FOLDERS):
        for owner, repo in repositories(folder):
            place = os.path.join(folder, owner, repo)
            for file in selection.firsts(os.listdir(place)):
                yield f"lmstudio:{owner}/{repo}:{file}", os.path.join(place, file)


def _ollama() -> Iterator[tuple[str, str]]:
    """Ollama keeps files by their sha256, and a manifest for each name."""
    for store in _ollama_folders():
        registry = _registry(store)
        for owner, name in repositories(registry):
            for tag in os.listdir(os.path.join(registry, owner, name)):
                path = _blob(store, os.path.join(registry, owner, name, tag))
                if path is not None:
                    full = name if owner == "library" else f"{owner}/{name}"
                    yield f"ollama:{full}:{tag}", path


def _registry(store: str) -> str:
    return os.path.join(store, "manifests", "registry.ollama.ai")


def _ollama_folders() -> list[str]:
    named = os.environ.get("OLLAMA_MODELS")
    places = [named] if named else ["~/.ollama/models", "/usr/share/ollama/.ollama/models"]
    return [folder for folder in map(os.path.expanduser, places) if os.access(folder, os.R_OK | os.X_OK)]


def _blob(store: str, manifest: str) -> str | None:
    """The model's file that a manifest names. A digest is a name of exactly one form, never a path."""
    try:
        if os.path.getsize(manifest) > _MAX_MANIFEST_BYTES:
            return None
        with open(manifest, "rb") as file:
            layers = json.load(file)["layers"]
        digest = next(layer["digest"] for layer in layers if layer["mediaType"] == _MODEL_LAYER)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return None
    path = os.path.join(store, "blobs", digest.replace(":", "-"))
    return path if os.path.isfile(path) else None


def _folders(folder: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
