"""Which LoRA files are loaded with a model: those that config.toml lists for it. Blocking."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from threadrunner.api.errors import ModelLoadFailed, ModelNotFound
from threadrunner.daemon.gguf.names import printable

MAX_ADAPTERS = 16
MAX_SCALE = 100.0


class AdapterRef(NamedTuple):
    """An adapter by its file, and the scale at which it is applied where a request says nothing."""

    name: str
    path: str
    scale: float


def find(listed: Sequence[str], model: str, folder: str) -> tuple[AdapterRef, ...]:
    """Those of a list of config.toml: each a path, or a file's name beside the model or in the models folder, and after
    a `=` a scale; 0 for one that only requests bring in. Raises ModelNotFound, ModelLoadFailed."""
    if len(listed) > MAX_ADAPTERS:
        raise ModelLoadFailed(f"adapters: {len(listed)} are listed, {MAX_ADAPTERS} can be loaded with a model")
    found = tuple(_found(*parse(item), [os.path.dirname(model), folder]) for item in listed)
    names = [adapter.name for adapter in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ModelLoadFailed(f"adapters: two files are named {twice}, and requests could not tell them apart")
    return found


def parse(item: str) -> tuple[str, float]:
    """The file and the scale. Raises ModelLoadFailed."""
    file, equals, number = item.rpartition("=")
    try:
        scale = float(number) if equals else 1.0
    except ValueError:  # it belongs to the name
        return item, 1.0
    if not -MAX_SCALE <= scale <= MAX_SCALE:
        raise ModelLoadFailed(f"adapters: the scale of {printable(file)} must be -{MAX_SCALE:g} to {MAX_SCALE:g}")
    return (file, scale) if equals else (item, scale)


def _found(file: str, scale: float, places: Sequence[str]) -> AdapterRef:
    file = os.path.expanduser(file)
    for path in _candidates(file, places):
        if os.path.isfile(path):
            return AdapterRef(printable(os.path.basename(path)).removesuffix(".gguf"), os.path.normpath(path), scale)
    shown = printable(file)
    raise ModelNotFound(
        f"the adapter {shown} is not there: give its full path, or put it beside the model", model=shown
    )


def _candidates(file: str, places: Sequence[str]) -> Iterator[str]:
    for place in places:
        path = os.path.join(place, file)  # an absolute path stays as it is
        yield path
        if not file.endswith(".gguf"):
            yield f"{path}.gguf"
