"""A replica's daemon, as its HTTP app sees it: one model, by the cluster's name for it, and nothing that is kept.

A replica answers for what the cluster's file names and no more: another model on its disk would be loaded beside the
one it was placed for, and a conversation that it kept would be gone with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from threadrunner.api.errors import ModelNotFound, NotSupported
from threadrunner.http.exchange import Daemon

ANSWERED = frozenset(
    ("generate", "infill", "embed", "rerank", "tokenize", "detokenize", "apply_template", "models.load", "status")
)
"""Methods that a replica passes on; `models.list` and `models.show` it answers itself."""

_KEPT = ("session", "replace", "memory", "mode")


class OneModel:
    """A Daemon."""

    def __init__(self, daemon: Daemon, name: str, model: str) -> None:
        """`name` is the cluster's, `model` the daemon's own; "" for a backend without models."""
        self._daemon = daemon
        self._name = name
        self._model = model

    async def request(self, method: str, params: dict[str, Any], notice: Any = None) -> Any:
        """Raises ApiError, for another model and for what would be kept too."""
        if method == "models.list":
            return {"models": [await self._shown()]}
        if method == "models.show":
            return await self._shown(params.get("templates", False))
        if method not in ANSWERED:
            raise NotSupported(f"a replica of a cluster does not do {method}; ask a daemon of your own")
        answer = await self._daemon.request(method, asked(params, self._name), notice)
        return shown_status(answer, self._name) if method == "status" else answer

    async def _shown(self, templates: bool = False) -> dict[str, Any]:
        """What is known of the model, without its place on a disk."""
        known = {}
        if self._model:
            params = {"model": self._model, "templates": True} if templates else {"model": self._model}
            known = await self._daemon.request("models.show", params)
        return {**known, "name": self._name, "path": None, "files": [], "default": True, "present": True}


def asked(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Params for the replica's daemon, whose default model it is. Raises ModelNotFound, NotSupported."""
    given = dict(params)
    model = given.pop("model", None)
    if model not in (None, "", name):
        raise ModelNotFound(f"this address has the model {name} only; others have addresses of their own", model=model)
    if given.pop("backend", None) is not None:
        raise NotSupported("a replica of a cluster has one backend; leave it out")
    if kept := next((key for key in _KEPT if given.get(key)), None):
        raise NotSupported(
            f"a cluster keeps no conversations, notes or modes, so it takes no `{kept}`; send `messages`, or talk "
            "through a daemon of your own with this cluster as a remote"
        )
    given.pop("keep_alive", None)  # how long it is loaded, the cluster decides
    return given


def shown_status(status: dict[str, Any], name: str) -> dict[str, Any]:
    """The daemon's status, by the cluster's name for its model."""
    models = [{**model, "name": name, "path": ""} for model in status["models"]]
    backend = status["backend"] if status["backend"] == "llama" else name  # one without models answers to its own name
    return {**status, "backend": backend, "model": name, "models": models, "socket": "", "log": ""}
