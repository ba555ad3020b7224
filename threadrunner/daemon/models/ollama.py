"""Ollama's store: files by their sha256, and a manifest for each name. Blocking."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

from threadrunner.daemon.models.folders import files_in, folders_in, repositories

_HOST = "registry.ollama.ai"
"""The registry that Ollama means if a name has none, and leaves out where it prints one."""
_OWNER = "library"
"""The same for its models' owner."""
_PLACES = (
    "~/.ollama/models",
    "/usr/share/ollama/.ollama/models",
    "/var/lib/ollama/models",
    "/var/lib/ollama",
    "/var/snap/ollama/common/models",
)
_MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(
    r"(?!library/[^/]*$)(?:(?:(?P<host>[^/.][^/]*)/)?(?P<owner>[^/:.][^/:]*)/)?"
    r"(?P<model>[^/:.][^/:]*)(?::(?P<tag>[^/:.][^/:]*))?"
)
_MAX_MANIFEST_BYTES = 1 << 20


def models() -> Iterator[tuple[str, str]]:
    """(name, path) of each, the name as `ollama list` prints it, its tag included."""
    for store in _stores():
        manifests = os.path.join(store, "manifests")
        for host in folders_in(manifests):
            for owner, model in repositories(os.path.join(manifests, host)):
                for tag in files_in(os.path.join(manifests, host, owner, model)):
                    if path := _blob(store, os.path.join(manifests, host, owner, model, tag)):
                        yield f"{_shortest(host, owner)}{model}:{tag}", path


def find(name: str) -> str | None:
    """The path of the model of that name; `latest` is the tag of a name without one."""
    if match := _NAME.fullmatch(name):
        manifest = (match["host"] or _HOST, match["owner"] or _OWNER, match["model"], match["tag"] or "latest")
        for store in _stores():
            if path := _blob(store, os.path.join(store, "manifests", *manifest)):
                return path
    return None


def _shortest(host: str, owner: str) -> str:
    if host != _HOST:
        return f"{host}/{owner}/"
    return "" if owner == _OWNER else f"{owner}/"


def _stores() -> list[str]:
    """Ollama takes quotes and spaces off its variable; a relative one is from where the daemon was started."""
    named = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    places = [os.path.join(os.environ.get("PWD", "/"), os.path.expanduser(named))] if named else _PLACES
    return [folder for folder in map(os.path.expanduser, places) if os.access(folder, os.R_OK | os.X_OK)]


def _blob(store: str, manifest: str) -> str | None:
    """The model's file that a manifest names. A digest is a name of exactly one form, never a path."""
    try:
        if not os.path.isfile(manifest) or os.path.getsize(manifest) > _MAX_MANIFEST_BYTES:
            return None
        with open(manifest, "rb") as file:
            layers = json.load(file)["layers"]
        digest = next(layer["digest"] for layer in layers if layer["mediaType"] == _MODEL_LAYER)
    except (OSError, ValueError, KeyError, TypeError, StopIteration, RecursionError):
        return None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return None
    path = os.path.join(store, "blobs", digest.replace(":", "-"))
    return path if os.path.isfile(path) else None
