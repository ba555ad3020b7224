"""LM Studio's store: a folder for each owner, and in it one for each repository. Blocking."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

from threadrunner.daemon.models import selection
from threadrunner.daemon.models.folders import models_in, repositories

_POINTER = "~/.lmstudio-home-pointer"
"""A file with the path of LM Studio's own folder, since version 0.3.6."""
_HOMES = ("~/.lmstudio", "~/.cache/lm-studio")
_SETTINGS = ("~/.config/LM Studio", "~/Library/Application Support/LM Studio")
"""Folders that may have settings, and no models."""
_NAME = re.compile(r"([^/:.][^/:]*/[^/:.][^/:]*):([^/:]+)")
_MAX_BYTES = 1 << 20
"""Of a file of settings."""


def models() -> Iterator[tuple[str, str]]:
    """(owner/repository:file, path) of each."""
    for folder in _stores():
        for owner, repo in repositories(folder):
            place = os.path.join(folder, owner, repo)
            for file in selection.firsts(models_in(place)):
                yield f"{owner}/{repo}:{file}", os.path.join(place, file)


def find(name: str) -> str | None:
    """The path of the model that `models` lists under that name."""
    if match := _NAME.fullmatch(name):
        for folder in _stores():
            path = os.path.join(folder, match[1], match[2])
            if selection.firsts([match[2]]) and os.path.isfile(path):
                return path
    return None


def _stores() -> list[str]:
    """The folders of models: the one that is chosen in the settings, and the usual one, each once."""
    pointed = _text(_POINTER).strip().partition("\n")[0].strip()
    homes = [home for home in (pointed, *_HOMES) if home]
    chosen = [_chosen(os.path.join(home, "settings.json")) for home in (*homes, *_SETTINGS)]
    places = [*filter(None, chosen), *(os.path.join(home, "models") for home in homes)]
    found: dict[str, str] = {}
    for place in map(os.path.expanduser, places):
        if os.path.isabs(place) and os.path.isdir(place):
            found.setdefault(os.path.realpath(place), place)
    return list(found.values())


def _chosen(settings: str) -> str:
    """The folder that LM Studio downloads to by its settings; empty if they do not say."""
    try:
        folder = json.loads(_text(settings))["downloadsFolder"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return folder if isinstance(folder, str) else ""


def _text(path: str) -> str:
    """The file's text; empty if there is no such file, or one that cannot be meant."""
    path = os.path.expanduser(path)
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _MAX_BYTES:
            return ""
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
