"""All that is learned, as it is on disk: `learned/` under THREADRUNNER_HOME. For people who look at it or delete it.

habits.json has weights and counts, answers.json counts, snippets/ a file for each workspace with pieces of its code.
"""

from __future__ import annotations

import contextlib
import glob
import os
from typing import Any

from threadrunner import paths
from threadrunner.learning import corrections, files
from threadrunner.learning.habits import Habits
from threadrunner.learning.quiet import Ledger

HABITS = "habits.json"
SNIPPETS = "snippets"
WORKSPACES = 50
"""Of which snippets are kept, at most: those that were written last."""


def summary(on: bool) -> dict[str, Any]:
    """What there is, as `threadrunner learn show --json` prints it. Raises OSError."""
    folder = paths.learned_dir()
    return {
        "on": on,
        "folder": folder,
        "suggestions": _suggestions(os.path.join(folder, HABITS)),
        "snippets": [found for file in _snippet_files(folder) if (found := _workspace(file))],
        "answers": corrections.known(),
    }


def _suggestions(path: str) -> dict[str, Any] | None:
    told = files.read(path)
    if told is None:
        return None
    names = list(told["weights"]) if isinstance(told.get("weights"), dict) else []
    try:
        habits = Habits.of(names, {}, Ledger.empty()).read(told)
    except ValueError as error:
        files.set_aside(path, str(error))
        return None
    weights = dict(zip(names, habits.model.weights, strict=True))
    return {"threshold": habits.threshold, "languages": habits.counts, "weights": weights}


def _workspace(path: str) -> dict[str, Any] | None:
    told = files.read(path) or {}
    snippets = told.get("snippets")
    if not isinstance(snippets, list):
        return None
    return {"folder": str(told.get("folder", "")), "count": len(snippets), "file": path}


def _snippet_files(folder: str) -> list[str]:
    """The newest first."""
    found = []
    for path in glob.glob(os.path.join(glob.escape(folder), SNIPPETS, "*.json")):
        with contextlib.suppress(FileNotFoundError):
            found.append((os.stat(path).st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]


def prune(folder: str) -> None:
    """Delete the snippets of workspaces that were not written to for longest, where there are too many."""
    for path in _snippet_files(folder)[WORKSPACES:]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def delete() -> int:
    """Delete all that was learned; how many files. Raises OSError."""
    folder = paths.learned_dir()
    if not os.path.isdir(folder):
        return 0
    count = 0
    for within in (folder, os.path.join(folder, SNIPPETS)):
        for name in ("*.json", "*.broken", "*.new"):
            for path in glob.glob(os.path.join(glob.escape(within), name)):
                with files.locked(path), contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                    count += 1
    return count
