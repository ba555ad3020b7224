"""How often answers of a conversation were corrected, by model and mode: counts alone, shown by `threadrunner models`.

Nothing changes by itself because of them. The file is `learned/answers.json` under THREADRUNNER_HOME.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from threadrunner import config, paths
from threadrunner.learning import files

VERSION = 1
KINDS = ("answers", "retried", "edited", "undone")
"""What is counted: answers, and of these, those that were asked for again, whose prompt was changed, and that were
deleted."""
MODELS, MODES = 200, 30
"""Kept at most, the latest."""

Counts = dict[str, dict[str, Counter[str]]]
"""By model and mode; `-` where no mode was chosen."""


def path() -> str:
    return os.path.join(paths.learned_dir(), "answers.json")


def count(model: str, mode: str | None, kind: str) -> None:
    """One more. Not where `learn` is off; a file that cannot be written is left as it is."""
    try:
        if config.readable()[0].learn:
            files.change(path(), lambda told: _told(_counted(told, model, mode or "-", kind)))
    except (OSError, config.ConfigError):
        return  # not worth a message in a conversation


def known() -> Counts:
    """All that was counted. Raises OSError."""
    return _read(files.read(path()))


def _counted(told: dict[str, Any] | None, model: str, mode: str, kind: str) -> Counts:
    counts = _read(told)
    modes = counts.pop(model, {})
    counts[model] = modes  # the latest is last
    modes.setdefault(mode, Counter())[kind] += 1
    for table, most in ((counts, MODELS), (modes, MODES)):
        while len(table) > most:
            del table[next(iter(table))]
    return counts


def _told(counts: Counts) -> dict[str, Any]:
    about = "how often answers were corrected, by model and mode; no text. docs/learning.md explains it"
    return {"version": VERSION, "about": about, "models": counts}


def _read(told: dict[str, Any] | None) -> Counts:
    """Empty where there is no file, and for one that is not as we write it, which is set aside."""
    if told is None:
        return {}
    try:
        if told["version"] != VERSION:
            raise ValueError(f"its version is {str(told['version'])[:20]}")
        return {
            str(model): {
                str(mode): Counter({kind: max(0, int(found.get(kind, 0))) for kind in KINDS})
                for mode, found in modes.items()
            }
            for model, modes in told["models"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        files.set_aside(path(), f"{type(error).__name__}: {error}")
        return {}
