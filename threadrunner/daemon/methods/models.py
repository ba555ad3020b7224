"""Handlers of models.*: which models there are; loading, unloading, fetching and removing them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import msgspec
from msgspec import UNSET

from threadrunner import model_defaults, model_settings
from threadrunner.api.errors import InvalidParams, ModelNotFound
from threadrunner.api.models import (
    CatalogModel,
    Loaded,
    LoadParams,
    ModelList,
    ModelListParams,
    ModelParams,
    ModelShown,
    ModelShowParams,
    NamedModel,
    Origin,
    Pulled,
    PullParams,
    Removed,
    Unloaded,
)
from threadrunner.config import ConfigError
from threadrunner.daemon.downloads.downloads import Downloads
from threadrunner.daemon.downloads.staging import Fetched, Report
from threadrunner.daemon.gguf.names import meant, printable
from threadrunner.daemon.live_config import LiveConfig
from threadrunner.daemon.methods.context import Call, Handler, plain
from threadrunner.daemon.methods.generation import Generation
from threadrunner.daemon.models import inventory, mmproj, remotes, removal, templates
from threadrunner.daemon.models.catalog import Catalog
from threadrunner.daemon.models.inventory import ListingContext
from threadrunner.daemon.models.last_used import LastUsed
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.workers import kept_state
from threadrunner.daemon.workers.fleet import Fleet
from threadrunner.remote_settings import find


class ModelMethods:
    """Whatever reads folders or files does so on a thread of its own, not on the event loop's."""

    def __init__(
        self,
        config: LiveConfig,
        catalog: Catalog,
        generation: Generation,
        fleet: Fleet,
        downloads: Downloads,
        last_used: LastUsed,
        cache_dir: str,
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._generation = generation
        self._fleet = fleet
        self._downloads = downloads
        self._last_used = last_used
        self._cache_dir = cache_dir

    def handlers(self) -> dict[str, Handler]:
        return {
            "models.list": plain(self.listing),
            "models.show": plain(self.show),
            "models.remove": plain(self.remove),
            "models.load": self.load,
            "models.unload": plain(self.unload),
            "models.pull": self.pull,
        }

    async def listing(self, params: ModelListParams) -> ModelList:
        models, context = await self._catalog.every(params.fetchable), await self._context()
        here = await asyncio.to_thread(inventory.listed, models, context)
        return ModelList([*here, *self._elsewhere()])

    def _elsewhere(self) -> list[CatalogModel]:
        """Those on other machines, by what config.toml says: nothing is asked."""
        options = self._config.current
        names = [str(model) for model in remotes.names(options)]
        names += [alias for alias in options.aliases if self._catalog.elsewhere(alias)]
        return [self._on_another_machine(name) for name in names]

    def _on_another_machine(self, name: str) -> CatalogModel:
        model = self._catalog.elsewhere(name)
        assert model is not None
        described = CatalogModel(
            name=name,
            description="" if name == str(model) else str(model),
            default=self._catalog.elsewhere(self._config.default_model) == model,
            loaded=bool(self._fleet.holding(ModelRef(name, "", remote=model))),
        )
        try:
            return msgspec.structs.replace(described, host=find(self._config.current, model.remote).host)
        except ConfigError as error:
            return msgspec.structs.replace(described, problem=str(error))

    async def show(self, params: ModelShowParams) -> ModelShown:
        model, context = await self._catalog.resolve(params.model), await self._context()
        if model.remote is not None:
            shown = ModelShown(**msgspec.structs.asdict(self._on_another_machine(params.model)))
        else:
            shown = await asyncio.to_thread(inventory.shown, model, context, templates=params.templates)
        shown = msgspec.structs.replace(shown, facts=self._facts(model))
        try:
            return await asyncio.to_thread(self._with_options, shown, model)
        except ConfigError as error:
            return msgspec.structs.replace(shown, problem=shown.problem or str(error))

    def _with_options(self, shown: ModelShown, model: ModelRef) -> ModelShown:
        """With what config.toml says of it, and where each value comes from. Raises ConfigError."""
        table, where = model_settings.table(self._config.current, self._fleet.table_names(model))
        own = self._fleet.defaults(model)
        elsewhere = model.remote is not None
        settings = {} if elsewhere else model_settings.changed(self._fleet.settings(model))
        answers = model_defaults.in_force(own, shown.sampling, usual=not elsewhere)
        if own.template is not None:
            text = templates.find(own.template, where)
            asked = shown.templates is not UNSET
            shown = msgspec.structs.replace(shown, chat_template=True, templates={"default": text} if asked else UNSET)
        options: dict[str, Origin] = {name: "config.toml" if name in table else "all models" for name in settings}
        return msgspec.structs.replace(
            shown,
            settings=settings,
            defaults={name: answer.value for name, answer in answers.items()},
            origins={**options, **{name: answer.origin for name, answer in answers.items()}},
        )

    def _facts(self, model: ModelRef) -> dict[str, Any]:
        holders = self._fleet.holding(model)
        return holders[0].facts.facts if holders else {}

    async def remove(self, params: NamedModel) -> Removed:
        model = await self._here(params.model)
        removal.check_removable(model, self._catalog.folder)
        holding = self._fleet.holding(model)
        await self._fleet.unload(holding)
        for name in {model.name, *(resident.model.name for resident in holding)}:
            await asyncio.to_thread(kept_state.forget, self._cache_dir, name)
        options = self._config.current
        named = [table.get("mmproj") for table in options.models.values() if isinstance(table, dict)]
        return await asyncio.to_thread(removal.remove, model, self._catalog.folder, [*named, options.mmproj])

    async def load(self, call: Call, params: LoadParams) -> Loaded:
        async with self._generation.use(self._generation.choose(params), params, call.outlet) as used:
            return Loaded(used.model.name, used.model.shown_path, used.context, round(used.waited_ms, 1))

    async def unload(self, params: ModelParams) -> Unloaded:
        chosen = self._fleet.loaded
        if params.model is not None:
            # Not by a name that was used: perhaps by another one of the same file.
            chosen = self._fleet.named(params.model) or self._fleet.holding(await self._catalog.resolve(params.model))
        if params.backend is not None:
            chosen = [resident for resident in chosen if resident.backend == params.backend]
        await self._fleet.unload(chosen)
        return Unloaded([resident.model.name for resident in chosen])

    async def pull(self, call: Call, params: PullParams) -> Pulled:
        def report(done: int, total: int) -> None:
            call.outlet.progress("download", done, total)

        fetched = Fetched("")
        if os.path.isabs(params.model):
            for file in await asyncio.to_thread(inventory.models_at, meant(params.model)):
                fetched = await self._downloads.copy(file, self._catalog.folder, report, encoder=params.mmproj)
        else:
            fetched = await self._brought(await self._here(params.model), report, encoder=params.mmproj)
        beside = await asyncio.to_thread(mmproj.beside, fetched.path)
        pulled = ModelRef("", fetched.path, mmproj=beside)
        return Pulled(
            params.model,
            pulled.shown_path,
            pulled.size_bytes,
            mmproj=printable(beside) or UNSET,
            missing=fetched.missing or UNSET,
        )

    async def _brought(self, model: ModelRef, report: Report, *, encoder: bool) -> Fetched:
        """With the encoder of pictures that its repository has, if config.toml names no other."""
        encoder = encoder and not self._fleet.encoder_named(model)
        if not model.present:
            return await self._downloads.ensure(model, report, parts="both" if encoder else "model")
        ours = model.hub is not None and not model.keeper and not self._config.current.offline
        if encoder and ours and not await asyncio.to_thread(mmproj.beside, model.path):
            return await self._downloads.complete(model, report)
        return Fetched(model.path)

    async def _here(self, name: str) -> ModelRef:
        """Raises InvalidParams for a model on another machine."""
        model = await self._catalog.resolve(name)
        if model.remote is not None:
            raise InvalidParams(f"{name} is on another machine: it has no file here")
        return model

    async def _context(self) -> ListingContext:
        default = ""
        with contextlib.suppress(ModelNotFound):  # a default model that is gone hides no other
            default = (await self._catalog.resolve(self._config.default_model)).path
        return ListingContext(
            loaded={resident.model.path for resident in self._fleet.loaded},
            default=default,
            last_used=self._last_used.times(),
            folder=self._catalog.folder,
            mmproj=self._fleet.encoder_named,
        )
