"""What is known of the models that a request may name, for the dialects' listings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from threadrunner.http.gateway import Gateway

_STATES = {"starting": "loading", "ready": "loaded", "stopping": "unloaded", "failed": "failed"}


@dataclass(frozen=True)
class KnownModel:
    """One model. Numbers are 0, texts empty, where they are not known."""

    name: str
    usable: bool
    """Its file is here and can be read."""
    default: bool
    """Requests that name none get it."""
    state: str
    """unloaded, loading, loaded or failed."""
    size: int
    """Bytes of its files."""
    parameters: int
    n_ctx: int
    """Tokens of a conversation: as it is loaded, else as it was trained."""
    n_ctx_train: int
    n_vocab: int
    n_embd: int
    quantization: str
    fim: bool
    """It can infill."""
    chat: bool
    """It has a chat template."""
    sees: bool
    """It takes pictures."""
    description: str


async def look(gateway: Gateway) -> list[KnownModel]:
    """All of them, also those that would have to be fetched first. Raises ApiError."""
    listed = (await gateway.request("models.list", {}))["models"]
    status = await gateway.request("status", {})
    running = {model["name"]: model for model in status["models"] if not model["name"].startswith(("/", "~", "."))}
    # An alias with a `*` is for names that a client insists on, and no name itself.
    known = [_known(model, running.pop(model["name"], {})) for model in listed if "*" not in model["name"]]
    known += [_known({"name": name, "present": True}, model) for name, model in running.items()]
    backend = status["backend"]
    if backend != "llama":  # one without models answers by its own name
        known = [replace(model, default=model.name == backend) for model in known]
    if backend != "llama" and backend not in [model.name for model in known]:
        known.append(_known({"name": backend, "present": True, "default": True}, {}))
    return known


def sees(model: Mapping[str, Any], running: Mapping[str, Any] | None) -> bool:
    """Whether it takes pictures: as it is loaded, else by its entry in `models.list` or `models.show`."""
    facts = (running or {}).get("facts") or {}
    return bool(facts.get("vision", model.get("vision")))


def _known(model: Mapping[str, Any], running: Mapping[str, Any]) -> KnownModel:
    """From `models.list`, and from `status` where it is loaded."""
    trained = model.get("context") or 0
    return KnownModel(
        name=model["name"],
        usable=bool(model.get("present")) and not model.get("problem"),
        default=bool(model.get("default")),
        state=_STATES.get(running.get("state", ""), "unloaded"),
        size=model.get("size_bytes") or 0,
        parameters=model.get("parameters") or 0,
        n_ctx=running.get("context") or trained,
        n_ctx_train=trained or running.get("context") or 0,
        n_vocab=model.get("vocabulary") or 0,
        n_embd=model.get("width") or 0,
        quantization=model.get("quantization") or "",
        fim=bool(model.get("fim")),
        chat=model.get("chat_template") is not False,
        sees=sees(model, running),
        description=model.get("description") or "",
    )
