"""When each model was last used, over the daemon's life: a small file in the cache folder that may be lost."""

from __future__ import annotations

import contextlib
import json
import os
import time

from threadrunner.system import private_files

_MAX_DELAY = 60.0
"""Seconds by which the file may be behind."""
_MAX_MODELS = 1000


class LastUsed:
    """By a model's path, in Unix time."""

    def __init__(self, cache_dir: str) -> None:
        self._file = os.path.join(cache_dir, "last-used.json")
        self._times: dict[str, float] | None = None
        self._written = 0.0

    def now(self, path: str) -> None:
        """The model is being used: note the time."""
        times, now = self._read(), time.time()
        new = path not in times
        times[path] = now
        if new or now - self._written > _MAX_DELAY:
            self._written = now
            self._write(times)

    def times(self) -> dict[str, float]:
        return self._read()

    def _read(self) -> dict[str, float]:
        if self._times is None:
            self._times = {}
            with contextlib.suppress(OSError, ValueError, AttributeError), open(self._file, "rb") as file:
                self._times = {str(path): float(used) for path, used in json.load(file).items()}
        return self._times

    def _write(self, times: dict[str, float]) -> None:
        latest = dict(sorted(times.items(), key=lambda item: -item[1])[:_MAX_MODELS])
        with contextlib.suppress(OSError):
            private_files.write(self._file, json.dumps(latest))
