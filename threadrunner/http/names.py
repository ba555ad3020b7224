"""Which model a name in a request means: names of the catalog only, never a path.

Whoever reaches the port could else have any file of this user's opened as a model. A name that is not known is an error
that names the nearest ones, never another model in silence: two programs that name two models would load them by turns.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from threadrunner.http.failures import HttpFailure

DEFAULT = ("", "default")
"""Names for the model of requests that name none; llama.vim sends an empty one."""

_NOT_NAMED = ("/", "~", ".", "remote:")
"""How names begin that no client of the port may give: paths, and models on other machines. Whoever reaches the port
would ask those with this user's key."""

Ask = Callable[[str, dict[str, Any]], Awaitable[Any]]


def resolve(name: str, known: Collection[str], aliases: Mapping[str, str]) -> str | None:
    """The model's name for the daemon; None: the default one. Raises KeyError for one that is not known.

    Ollama's clients add `:latest` to what they are given, and files are known without their ending too. An alias of the
    configuration may have a `*`, for clients that ask for names of a service's own: `"claude-*" = "qwen3:4b"`.
    """
    if name in DEFAULT:
        return None
    if (exact := _exact(name, known)) is not None:
        return exact
    for pattern, target in aliases.items():
        if "*" in pattern and fnmatch.fnmatchcase(name, pattern):
            return None if target in DEFAULT else _exact(target, known) or target
    raise KeyError(name)


def _exact(name: str, known: Collection[str]) -> str | None:
    spellings = (name, name.removesuffix(":latest"), f"{name}:latest", f"{name}.gguf")
    return next((spelling for spelling in spellings if spelling in known), None)


def without_path(name: str) -> str:
    """A model's name as it may leave by the port: of one that is named by its file, what the file is called."""
    return os.path.basename(name) if name.startswith(("/", "~", ".")) else name


class Names:
    """The names that may be used, asked of the daemon when one is not among those it gave last."""

    def __init__(self, ask: Ask, aliases: Mapping[str, str]) -> None:
        self._ask = ask
        self._aliases = aliases
        self._known: set[str] = set()
        self._default: set[str] = set()

    async def find(self, name: str | None) -> str | None:
        """The model's name for the daemon; None: the default one. Raises HttpFailure 404."""
        if name is None or name in DEFAULT:
            return None
        try:
            found = resolve(name, self._known, self._aliases)
        except KeyError:
            found = name
        if found is not None and found not in self._known:
            await self._refresh()
            try:
                found = resolve(name, self._known, self._aliases)
            except KeyError:
                raise self._unknown(name) from None
        return None if found in self._default else found

    async def _refresh(self) -> None:
        listed = await self._ask("models.list", {})
        status = await self._ask("status", {})
        # A backend that needs no model answers to its own name, and to no request's.
        self._default = {status["backend"]} if status["backend"] != "llama" else set()
        loaded = {model["name"] for model in status["models"] if not model["name"].startswith(_NOT_NAMED)}
        here = {model["name"] for model in listed["models"] if not model.get("host")}
        self._known = here | loaded | self._default

    def _unknown(self, name: str) -> HttpFailure:
        shown = name if len(name) <= 80 else f"{name[:80]}…"
        near = difflib.get_close_matches(name, self._known, n=3, cutoff=0.3) or sorted(self._known)[:5]
        text = f"no model is named {shown!r}. Known: {', '.join(near)}, and `default`; GET /v1/models lists all"
        return HttpFailure(
            404, "invalid_request_error", text, "model_not_found", "model", facts={"kind": "ModelNotFound"}
        )
