"""From what a request wants to a model in hand: its name resolved, its file fetched, its worker leased."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from threadrunner.api.errors import ModelNotFound, Timeout
from threadrunner.api.generation import Target
from threadrunner.api.models import LoadParams
from threadrunner.config import Config
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.recall import Memory
from threadrunner.daemon.downloads.downloads import Downloads
from threadrunner.daemon.models import catalog
from threadrunner.daemon.models.last_used import LastUsed
from threadrunner.daemon.peer import Call
from threadrunner.daemon.tally import Tally
from threadrunner.daemon.workers.fleet import Fleet
from threadrunner.daemon.workers.resident import Lease


class Daemon(Protocol):
    """What handlers may ask of the daemon as a whole."""

    config: Config
    fleet: Fleet
    pulls: Downloads
    usage: LastUsed
    tally: Tally
    sessions: Conversations
    memory: Memory
    models_dir: str
    socket: str
    log_file: Callable[[], str]
    started: float

    @property
    def clients(self) -> int: ...

    @property
    def stopping(self) -> bool: ...

    def stop(self) -> None: ...


def resolve(daemon: Daemon, name: str) -> catalog.ModelRef:
    """The model of that name. Raises ModelNotFound."""
    return catalog.resolve(name, daemon.models_dir, daemon.config.aliases)


def default_model(daemon: Daemon) -> catalog.ModelRef:
    """What a request that names no model gets. Raises ModelNotFound."""
    config = daemon.config
    return resolve(daemon, os.path.abspath(config.model_path) if config.model_path else config.model)


@contextlib.asynccontextmanager
async def lease(daemon: Daemon, call: Call, wanted: Target | LoadParams) -> AsyncIterator[Lease]:
    """The wanted model, or the default one, to use; fetched and loaded first if need be."""
    backend = wanted.backend or daemon.config.backend
    model = await _model(daemon, call, wanted.model, backend, wanted.offline)
    if model.present:
        daemon.usage.now(model.path)
    async with daemon.fleet.use(model, backend, wanted.keep_alive, call) as lease:
        yield lease


async def _model(daemon: Daemon, call: Call, name: str | None, backend: str, offline: bool) -> catalog.ModelRef:
    if backend != "llama":  # others need no GGUF file; one that wants it gets it by its path
        return _loose_model(daemon, name or backend)
    model = resolve(daemon, name) if name else default_model(daemon)
    if not model.present:
        if offline or daemon.config.offline:
            raise ModelNotFound(
                f"{model.name} is not on this machine, and fetching was forbidden. Run `threadrunner models pull "
                f"{model.name}` with a network, or use a GGUF file of yours: -m /path/to/model.gguf",
                model=model.name,
            )
        model = await daemon.pulls.ensure(model, lambda done, total: call.progress("download", done, total))
    return model


def _loose_model(daemon: Daemon, name: str) -> catalog.ModelRef:
    try:
        return resolve(daemon, name)
    except ModelNotFound:
        if "/" in name:
            raise
        return catalog.ModelRef(name, "")


@contextlib.asynccontextmanager
async def deadline(seconds: float | None) -> AsyncIterator[None]:
    """asyncio.timeout whose end is our Timeout error."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Timeout(f"no answer within {seconds:g} s; give more with --timeout (`timeout`)") from None
