"""Handlers of `models.*`: what there is, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

from threadrunner.api.errors import ModelNotFound
from threadrunner.api.models import (
    Loaded,
    LoadParams,
    ModelList,
    ModelParams,
    ModelShown,
    NamedModel,
    Pulled,
    PullParams,
    Removed,
    Unloaded,
)
from threadrunner.api.status import NoParams
from threadrunner.daemon.methods.generation import Daemon, default_model, lease, resolve
from threadrunner.daemon.models import catalog, inventory
from threadrunner.daemon.peer import Call
from threadrunner.daemon.workers.resident import Resident


async def listed(daemon: Daemon, call: Call, params: NoParams) -> ModelList:
    listed = await asyncio.to_thread(catalog.every, daemon.models_dir)
    listed += [resolve(daemon, alias) for alias in daemon.config.aliases if _known(daemon, alias)]
    return ModelList(await asyncio.to_thread(inventory.listed, listed, _situation(daemon)))


async def show(daemon: Daemon, call: Call, params: NamedModel) -> ModelShown:
    return await asyncio.to_thread(inventory.shown, resolve(daemon, params.model), _situation(daemon))


async def remove(daemon: Daemon, call: Call, params: NamedModel) -> Removed:
    model = resolve(daemon, params.model)
    inventory.check_removable(model, daemon.models_dir)
    await daemon.fleet.unload([resident for resident in daemon.fleet.loaded if resident.model.path == model.path])
    return await asyncio.to_thread(inventory.remove, model)


async def load(daemon: Daemon, call: Call, params: LoadParams) -> Loaded:
    began = time.monotonic()
    async with lease(daemon, call, params) as leased:
        resident = leased.resident
        took = (time.monotonic() - began) * 1e3
        return Loaded(resident.model.name, resident.model.path, resident.facts.context, round(took, 1))


async def unload(daemon: Daemon, call: Call, params: ModelParams) -> Unloaded:
    chosen = daemon.fleet.loaded
    if params.model is not None:
        named = [resident for resident in chosen if resident.model.name == params.model]
        # Not by its own name: perhaps by another one of the same file.
        chosen = named or _of_file(chosen, resolve(daemon, params.model).path)
    if params.backend is not None:
        chosen = [resident for resident in chosen if resident.backend == params.backend]
    await daemon.fleet.unload(chosen)
    return Unloaded([resident.model.name for resident in chosen])


def _of_file(residents: list[Resident], path: str) -> list[Resident]:
    return [resident for resident in residents if resident.model.path == path]


async def pull(daemon: Daemon, call: Call, params: PullParams) -> Pulled:
    def report(done: int, total: int) -> None:
        call.progress("download", done, total)

    if os.path.isabs(params.model):
        path = ""
        for file in await asyncio.to_thread(inventory.models_at, params.model):
            path = await daemon.pulls.copy(file, daemon.models_dir, report)
    else:
        path = (await daemon.pulls.ensure(resolve(daemon, params.model), report)).path
    return Pulled(params.model, path, sum(map(os.path.getsize, catalog.ModelRef("", path).files)))


def _situation(daemon: Daemon) -> inventory.ListingContext:
    return inventory.ListingContext(
        loaded={resident.model.path for resident in daemon.fleet.loaded},
        default=default_model(daemon).path,
        last_used=daemon.usage.times(),
    )


def _known(daemon: Daemon, name: str) -> bool:
    with contextlib.suppress(ModelNotFound):
        return bool(resolve(daemon, name))
    return False
