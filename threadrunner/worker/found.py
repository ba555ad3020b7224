"""Which class a backend's name means: ours, or an entry point of an installed package."""

from __future__ import annotations

import importlib

from threadrunner.api.errors import ModelLoadFailed
from threadrunner.backends.base import Backend

BUILT_IN = {
    "dummy": "threadrunner.backends.dummy:DummyBackend",
    "llama": "threadrunner.backends.llama:LlamaBackend",
    "remote": "threadrunner.backends.remote.backend:RemoteBackend",
}


def find_backend(name: str) -> Backend:
    """The backend of that name, ours or an installed entry point. Raises ModelLoadFailed."""
    if name in BUILT_IN:
        place = BUILT_IN[name]
    else:
        # Only now: the module and reading every installed package's metadata cost a cold start 30 ms each.
        from importlib.metadata import entry_points

        places = {entry.name: entry.value for entry in entry_points(group="threadrunner.backends")}
        if name not in places:
            known = ", ".join(sorted({*BUILT_IN, *places} - {"remote"}))  # that one is told by a model's name
            raise ModelLoadFailed(f"no backend is named {name!r}; installed: {known}", backend=name)
        place = places[name]
    module, _, attribute = place.partition(":")
    try:
        backend: Backend = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        raise ModelLoadFailed(f"the backend {name!r} ({place}) does not start: {error!r}", backend=name) from error
    return backend
