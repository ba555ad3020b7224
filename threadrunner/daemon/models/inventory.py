"""What is known of the models that can be named, and removing one. Blocking: headers are read (see gguf/check.py)."""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

import msgspec

from threadrunner.api.errors import InvalidParams, ModelLoadFailed, ModelNotFound
from threadrunner.api.models import CatalogModel, ModelShown, Removed
from threadrunner.daemon.gguf.check import Facts, check_gguf
from threadrunner.daemon.models import selection
from threadrunner.daemon.models.catalog import ModelRef


class ListingContext(NamedTuple):
    """What a listing says of models that their files do not."""

    loaded: set[str]
    """Paths."""
    default: str
    """The path of the model that answers if a request names none."""
    last_used: dict[str, float]
    """Unix time by path."""


def listed(models: list[ModelRef], context: ListingContext) -> list[CatalogModel]:
    return [_described(model, context) for model in models]


def shown(model: ModelRef, context: ListingContext) -> ModelShown:
    """One model in full."""
    header = _header(model)
    facts = header if isinstance(header, Facts) else None
    return ModelShown(
        **msgspec.structs.asdict(_described(model, context)),
        title=facts.name if facts else "",
        architecture=facts.architecture if facts else None,
        files=model.files if model.present else [],
        source=model.package.requirement if model.package else f"hf:{model.hub.repo}" if model.hub else "",
    )


def _described(model: ModelRef, context: ListingContext) -> CatalogModel:
    described = CatalogModel(
        name=model.name,
        path=model.path if model.present else None,
        size_bytes=_size(model),
        present=model.present,
        loaded=model.path in context.loaded,
        default=model.path == context.default,
        description=model.package.description if model.package else "",
        last_used=context.last_used.get(model.path),
        keeper=model.keeper,
    )
    header = _header(model)
    if header is None:
        return described
    if isinstance(header, str):
        return msgspec.structs.replace(described, problem=header)
    return msgspec.structs.replace(
        described,
        size_bytes=header.size,
        quantization=header.quantization,
        parameters=header.parameters,
        context=header.context,
        fim=header.fim,
        chat_template=header.chat_template,
        description=described.description or header.name,
    )


def _size(model: ModelRef) -> int:
    """Bytes of all its files, or of what would be fetched, if that is known."""
    if model.present:
        return sum(os.path.getsize(file) for file in model.files if os.path.exists(file))
    return model.package.size if model.package else 0


def _header(model: ModelRef) -> Facts | str | None:
    """What the header says, or why it cannot be used; None for a file that is not here."""
    return _checked(model.path, model.fingerprint) if model.present else None


@functools.lru_cache(maxsize=512)
def _checked(path: str, fingerprint: str) -> Facts | str:
    """Read once for each state of a file (`fingerprint` is part of the cache's key): a large vocabulary takes 30 ms."""
    try:
        return check_gguf(path)
    except ModelLoadFailed as error:
        return error.message


def models_at(place: str) -> list[str]:
    """The models that a path means: a file, or all in a folder and the folders in it. Raises ModelNotFound."""
    if not os.path.isdir(place):
        return [place]
    files = [os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names]
    if not (models := selection.firsts(files)):
        raise ModelNotFound(f"there is no GGUF file in {place}", model=place)
    return models


def check_removable(model: ModelRef, folder: str) -> None:
    """Raises ModelNotFound if there is no file, InvalidParams if it is not in the models folder."""
    if not model.present:
        raise ModelNotFound(f"{model.name} is not on this machine, so there is nothing to remove", model=model.name)
    if model.keeper:
        raise InvalidParams(f"{model.name} belongs to {model.keeper}; remove it there")
    inside = os.path.realpath(folder) + os.sep
    if not os.path.realpath(os.path.dirname(model.path)).startswith(inside[:-1]) or not model.path.startswith(folder):
        raise InvalidParams(f"{model.path} is not in {folder}; only models in that folder are removed")


def remove(model: ModelRef) -> Removed:
    """Delete its files, and the folders that are empty then."""
    size, files = _size(model), [file for file in model.files if os.path.lexists(file)]
    for file in files:  # the first part first: without it the model does not exist
        os.unlink(file)
    if model.hub:
        for folder in (os.path.dirname(model.path), os.path.dirname(os.path.dirname(model.path))):
            try:
                os.rmdir(folder)
            except OSError:
                break
    return Removed(model.name, files, size)
