"""The file that a URI is about, whatever its scheme: what it is judged by, which is never opened. Pure.

`untitled:/w/.env` is a new file that will be saved as `.env`, `git:/w/.env?{…}` an older version of it,
`vscode-remote://host/w/.env` the same on another machine: the text is as secret.
"""

from __future__ import annotations

import contextlib
import json
import re
from urllib.parse import unquote

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,}:")  # of two letters at least: `c:` is a drive
_COPY = re.compile(r"(?:~|<[^<>]*>|\.(?:bak|backup|old|orig|save|sav|copy|tmp|sw[a-p]|rej|git)|\.~\d*~?|;\d+)\Z", re.I)


def judged_path(uri: str) -> str:
    """The path that a URI names; empty where it names none."""
    scheme = _SCHEME.match(uri)
    rest = uri[scheme.end() :] if scheme else uri
    rest, _, fragment_less = rest.partition("#")[0].partition("?")
    if found := _in_query(fragment_less):
        return found
    if rest.startswith("//"):  # an authority: a host, or nothing
        rest = "/" + rest[2:].partition("/")[2]
    return unquote(rest).replace("\\", "/").rpartition("::")[2]  # Vim's zipfile:/a.zip::inner/.env


def _in_query(query: str) -> str:
    """VS Code's Git says the true path there, and may put another name into the URI's path."""
    with contextlib.suppress(ValueError):
        said = json.loads(unquote(query))
        if isinstance(said, dict) and isinstance(said.get("path"), str):
            return str(said["path"])
    return ""


def original_name(name: str) -> str:
    """The name without what editors and people put behind it for a copy: `.env~`, `#.env#`, `.env.bak`, `.env<2>`."""
    if len(name) > 2 and name[0] == name[-1] == "#":
        name = name[1:-1]
    while (shorter := _COPY.sub("", name)) and shorter != name:
        name = shorter
    return name
