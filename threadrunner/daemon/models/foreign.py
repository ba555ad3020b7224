"""Models that other programs have fetched: used where they are, never changed. Blocking."""

from __future__ import annotations

from collections.abc import Callable

from threadrunner.daemon.gguf.names import meant, printable
from threadrunner.daemon.models import lmstudio, ollama

STORES = {"ollama": "Ollama", "lmstudio": "LM Studio"}

_MODELS = {"ollama": ollama.models, "lmstudio": lmstudio.models}
_FIND: dict[str, Callable[[str], str | None]] = {"ollama": ollama.find, "lmstudio": lmstudio.find}


def models(source: str) -> list[tuple[str, str]]:
    """(name, path) of each model in that store, if it exists; a name that two folders have, once."""
    found: dict[str, str] = {}
    for name, path in _MODELS[source]():
        found.setdefault(f"{source}:{printable(name)}", path)
    return sorted(found.items())


def find(source: str, name: str) -> str | None:
    """The path of the model that `models` lists as `source:name`, or, for Ollama, as `source:name:latest`.

    Only that model's own folders are looked at: a store may have hundreds.
    """
    return _FIND[source](name) or _FIND[source](meant(name))
