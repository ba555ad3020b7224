"""What is known of a model without loading it."""

from __future__ import annotations

from typing import Any

from threadrunner.http import known
from threadrunner.http.gateway import Gateway


async def status_of(gateway: Gateway, model: str | None) -> dict[str, Any] | None:
    """The model's part of the daemon's `status`; None while it is not loaded. `model` None: the default one."""
    status = await gateway.request("status", {})
    loaded: list[dict[str, Any]] = status["models"]
    # A backend that needs no model answers under its own name.
    name = model or (status["model"] if status["backend"] == "llama" else status["backend"])
    found = next((one for one in loaded if one["name"] == name), None)
    if found is None and loaded and status["backend"] == "llama":  # under another name of the same file
        path = (await gateway.request("models.show", {"model": name})).get("path")
        found = next((one for one in loaded if path and one["path"] == path), None)
    return found


async def sees(gateway: Gateway, model: str | None) -> bool:
    """Whether it takes pictures."""
    status = await status_of(gateway, model)
    if status is not None or model is None:
        return known.sees({}, status)
    return known.sees(await gateway.request("models.show", {"model": model}), None)


async def context_of(gateway: Gateway, model: str | None) -> int:
    """Tokens that a conversation may have; 0 while that is not known."""
    status = await status_of(gateway, model)
    return int(status["context"]) if status else 0


async def adapters_of(gateway: Gateway, model: str | None) -> dict[str, float]:
    """By name, each with its scale where a request says nothing, in the order of their numbers; none while that is not
    known."""
    status = await status_of(gateway, model)
    return dict(status["facts"].get("adapters", {})) if status else {}
