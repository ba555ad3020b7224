"""What is known of the models that can be named. Blocking: headers are read (see gguf/check.py)."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from threadrunner.api.errors import ModelLoadFailed, ModelNotFound
from threadrunner.api.models import CatalogModel, ModelShown
from threadrunner.catalog_settings import CatalogRow
from threadrunner.daemon.gguf.check import Facts, chat_templates, check_gguf
from threadrunner.daemon.gguf.names import printable
from threadrunner.daemon.models import mmproj, selection
from threadrunner.daemon.models.reference import ModelRef

_BLIND = ("qwen35", "qwen35moe")
"""Architectures with M-RoPE and a recurrent state, which take no pictures here."""


class ListingContext(NamedTuple):
    """What a listing says of models that their files do not."""

    loaded: set[str]
    """Paths."""
    default: str
    """The path of the model that answers if a request names none."""
    last_used: dict[str, float]
    """Unix time by path."""
    folder: str = ""
    """Of models."""
    mmproj: Callable[[ModelRef], str] = lambda _: ""
    """What config.toml says of a model's encoder of pictures; empty: nothing."""

    def by_files(self) -> ListingContext:
        """The same by real paths, since a file may have several names. Blocking."""
        last_used: dict[str, float] = {}
        for path, when in self.last_used.items():
            real = os.path.realpath(path)
            last_used[real] = max(when, last_used.get(real, 0.0))
        default = os.path.realpath(self.default) if self.default else ""
        loaded = {os.path.realpath(path) for path in self.loaded if path}
        return self._replace(loaded=loaded, default=default, last_used=last_used)


def listed(models: list[ModelRef], context: ListingContext) -> list[CatalogModel]:
    by_files = context.by_files()
    return [_described(model, by_files) for model in models]


def shown(model: ModelRef, context: ListingContext, *, templates: bool = False) -> ModelShown:
    """One model in full; `templates`: with the texts of its chat templates."""
    header = _header(model)
    facts = header if isinstance(header, Facts) else None
    return ModelShown(
        **msgspec.structs.asdict(_described(model, context.by_files())),
        title=facts.name if facts else "",
        sampling={**facts.sampling} if facts else {},
        files=[printable(file) for file in model.files] if model.present else [],
        mmproj=printable(_encoder(model, facts.architecture, context)) if facts else "",
        source=model.package.requirement if model.package else f"hf:{model.hub.repo}" if model.hub else "",
        templates=chat_templates(model.files[0]) if templates and facts else UNSET,
    )


def _described(model: ModelRef, context: ListingContext) -> CatalogModel:
    entry = model.row
    described = CatalogModel(
        name=model.name,
        path=model.shown_path if model.present else None,
        size_bytes=_size(model, entry),
        present=model.present,
        loaded=model.real_path in context.loaded,
        default=model.real_path == context.default,
        description=model.package.description if model.package else entry.about if entry else "",
        last_used=context.last_used.get(model.real_path),
        keeper=model.keeper,
    )
    if entry:
        described = _with_entry(described, entry)
    header = _header(model)
    if header is None:
        return described
    if isinstance(header, str):
        return msgspec.structs.replace(described, problem=header)
    return msgspec.structs.replace(
        described,
        size_bytes=header.size,
        architecture=header.architecture,
        quantization=header.quantization,
        parameters=header.parameters,
        context=header.context,
        width=header.width,
        vocabulary=header.vocabulary,
        fim=header.fim,
        chat_template=header.chat_template,
        vision=bool(_encoder(model, header.architecture, context)),
        description=described.description or header.name,
    )


def _size(model: ModelRef, entry: CatalogRow | None) -> int:
    if model.present:
        return model.size_bytes
    return model.package.size if model.package else entry.bytes if entry else 0


def _with_entry(described: CatalogModel, entry: CatalogRow) -> CatalogModel:
    return msgspec.structs.replace(
        described,
        parameters=round(entry.parameters * 1e9),
        context=entry.context,
        does=list(entry.does),
        licence=entry.licence,
        active_parameters=round((entry.active or entry.parameters) * 1e9),
        layers=entry.layers,
        kv_bytes=entry.kv,
        vocabulary=entry.vocabulary or None,
        rank=entry.rank,
    )


def _header(model: ModelRef) -> Facts | str | None:
    """What the header says, or why it cannot be used; None for a file that is not here."""
    if not model.present:
        return None
    try:
        return _checked(model.files[0], model.fingerprint)
    except ModelLoadFailed as error:
        return error.message


def _encoder(model: ModelRef, architecture: str, context: ListingContext) -> str:
    """The encoder with which it sees; empty for none, and for a kind that does not work here (backends/seeing.py)."""
    named = context.mmproj(model)
    if architecture in _BLIND or named == mmproj.OFF:
        return ""
    try:
        if named:
            return mmproj.find(model.path, named, context.folder)
        return _beside(model.path, os.stat(os.path.dirname(model.path)).st_mtime_ns)
    except (ModelNotFound, OSError):
        return ""


@functools.lru_cache(maxsize=512)
def _beside(path: str, _changed: int) -> str:
    """Looked for once for each state of the folder."""
    return mmproj.beside(path)


@functools.lru_cache(maxsize=512)
def _checked(path: str, _fingerprint: str) -> Facts | str:
    """Read once for each state of a file (`_fingerprint` is part of the cache's key): a large vocabulary takes 30 ms.

    Raises ModelLoadFailed for what is not the file's content: the next look may find its permissions mended.
    """
    try:
        return check_gguf(path)
    except ModelLoadFailed as error:
        if "incomplete" not in error.facts:
            raise
        return error.message


def models_at(place: str) -> list[str]:
    """The models that a path means: a file, or all in a folder and the folders in it. Raises ModelNotFound."""
    if not os.path.isdir(place):
        return [place]
    found = (os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names)
    files = [path for path in found if path.endswith(".gguf") and os.path.isfile(path)]
    if not (models := selection.firsts(files)):
        raise ModelNotFound(f"there is no GGUF file in {place}", model=place)
    return models
