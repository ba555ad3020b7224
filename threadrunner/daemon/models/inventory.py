"""What is known of the models that can be named, and removing one. Blocking: headers are read (see gguf.py)."""

from __future__ import annotations

import functools
import os
from typing import Any, NamedTuple

from threadrunner.api.errors import InvalidParams, ModelLoadFailed, ModelNotFound
from threadrunner.api.models import CatalogModel, ModelShown, Removed
from threadrunner.daemon.gguf.check import Facts, check_gguf
from threadrunner.daemon.models import selection
from threadrunner.daemon.models.catalog import ModelRef


class ListingContext(NamedTuple):
    """What the files alone do not say."""

    loaded: set[str]
    default: str
    last_used: dict[str, float]


def listed(models: list[ModelRef], situation: ListingContext) -> list[CatalogModel]:
    return [CatalogModel(**_about(model, situation)) for model in models]


def shown(model: ModelRef, situation: ListingContext) -> ModelShown:
    facts = _facts(model)
    return ModelShown(
        **_about(model, situation),
        title=facts.name if isinstance(facts, Facts) else "",
        architecture=facts.architecture if isinstance(facts, Facts) else None,
        files=model.files if model.present else [],
        source=model.package.requirement if model.package else f"hf:{model.hub.repo}" if model.hub else "",
    )


def _about(model: ModelRef, situation: ListingContext) -> dict[str, Any]:
    facts = _facts(model)
    about: dict[str, Any] = {
        "name": model.name,
        "path": model.path if model.present else None,
        "size_bytes": _size(model),
        "present": model.present,
        "loaded": model.path in situation.loaded,
        "default": model.path == situation.default,
        "description": model.package.description if model.package else "",
        "last_used": situation.last_used.get(model.path),
        "keeper": model.keeper,
    }
    if isinstance(facts, str):
        return {**about, "problem": facts}
    if facts is None:
        return about
    return {
        **about,
        "size_bytes": facts.size,
        "quantization": facts.quantization,
        "parameters": facts.parameters,
        "context": facts.context,
        "fim": facts.fim,
        "chat_template": facts.chat_template,
        "description": about["description"] or facts.name,
    }


def _size(model: ModelRef) -> int:
    if model.present:
        return sum(os.path.getsize(file) for file in model.files if os.path.exists(file))
    return model.package.size if model.package else 0


def _facts(model: ModelRef) -> Facts | str | None:
    """Facts, or why there are none; None for a file that is not here."""
    return _checked(model.path, model.fingerprint) if model.present else None


@functools.lru_cache(maxsize=512)
def _checked(path: str, fingerprint: str) -> Facts | str:
    """Read once for each state of a file: a large vocabulary takes 30 ms."""
    try:
        return check_gguf(path)
    except ModelLoadFailed as error:
        return error.message


def models_at(place: str) -> list[str]:
    """The models that a path means: a file, or all in a folder, which may have folders in it. Raises ModelNotFound."""
    if not os.path.isdir(place):
        return [place]
    files = [os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names]
    if not (models := selection.firsts(files)):
        raise ModelNotFound(f"there is no GGUF file in {place}", model=place)
    return models


def check_removable(model: ModelRef, folder: str) -> None:
    """Raises ModelNotFound, InvalidParams."""
    if not model.present:
        raise ModelNotFound(f"{model.name} is not on this machine, so there is nothing to remove", model=model.name)
    if model.keeper:
        raise InvalidParams(f"{model.name} belongs to {model.keeper}; remove it there")
    inside = os.path.realpath(folder) + os.sep
    if not os.path.realpath(os.path.dirname(model.path)).startswith(inside[:-1]) or not model.path.startswith(folder):
        raise InvalidParams(f"{model.path} is not in {folder}; only what is there is ours to remove")


def remove(model: ModelRef) -> Removed:
    """Its files, and the folders that are empty then."""
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
