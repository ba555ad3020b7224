"""What Ollama says of itself and its models: / and GET /api/version, tags, ps, POST /api/show. Read only: models are
fetched and removed in a shell, since whoever reaches a port could else fill the disk, or empty it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.http import ollama_conversation, ollama_facts
from threadrunner.http.failures import HttpFailure
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.names import without_path
from threadrunner.http.ollama_objects import timestamp

VERSION = "0.12.6"
"""Of Ollama, whose interface this is: clients ask for at least 0.6.4."""

_REFUSED = {
    "/api/pull": ("POST", "models pull {}"),
    "/api/delete": ("DELETE", "models rm {}"),
    "/api/create": ("POST", ""),
    "/api/push": ("POST", ""),
    "/api/copy": ("POST", ""),
}
"""What changes models: the method, and the command that does it."""

_FOR_EVER = 100 * 365 * 86400.0


def routes(gateway: Gateway) -> list[Route]:
    async def tags(_request: Request) -> Response:
        return JSONResponse({"models": await _tags(gateway)})

    async def ps(_request: Request) -> Response:
        return JSONResponse({"models": await _running(gateway)})

    async def show(request: Request) -> Response:
        name = ollama_conversation.read_model(await fields(request))
        return JSONResponse(await _shown(gateway, name))

    return [
        Route("/api/version", _version),
        Route("/api/tags", tags),
        Route("/api/ps", ps),
        Route("/api/show", show, methods=["POST"]),
        *(Route(path, _refusing(command), methods=[method]) for path, (method, command) in _REFUSED.items()),
    ]


async def _version(_request: Request) -> Response:
    return JSONResponse({"version": VERSION})


def _refusing(command: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        name = (await fields(request)).text("model", "name") or "NAME"
        text = "models cannot be changed over HTTP"
        if command:
            text += f"; in a shell: threadrunner {command.format(name)}"
        raise HttpFailure(403, "permission_error", text, "not_over_http")

    return refuse


async def _tags(gateway: Gateway) -> list[dict[str, Any]]:
    """The models that are here, and the default one though it may have to be fetched first."""
    listed = (await gateway.request("models.list", {}))["models"]
    status = await gateway.request("status", {})
    usable = [model for model in listed if (model["present"] or model["default"]) and _usable(model)]
    if status["backend"] != "llama":
        usable.insert(0, {"name": status["backend"], "size_bytes": 0})
    return await asyncio.to_thread(lambda: [_tag(model) for model in usable])


def _usable(model: dict[str, Any]) -> bool:
    """An alias with a `*` is for names that a client insists on, and no name itself."""
    return not model.get("problem") and "*" not in model["name"]


def _tag(model: dict[str, Any]) -> dict[str, Any]:
    return {**_named(model), "modified_at": _modified(model), "details": ollama_facts.details(model)}


def _named(model: dict[str, Any]) -> dict[str, Any]:
    size = model.get("size_bytes", 0)
    digest = hashlib.sha256(f"{model['name']} {size}".encode()).hexdigest()
    return {"name": model["name"], "model": model["name"], "size": size, "digest": digest}


def _modified(model: dict[str, Any]) -> str:
    """Blocking."""
    try:
        return timestamp(os.stat(os.path.expanduser(model["path"])).st_mtime)
    except (OSError, KeyError, TypeError):
        return timestamp(0)


async def _running(gateway: Gateway) -> list[dict[str, Any]]:
    status = await gateway.request("status", {})
    listed = {model["name"]: model for model in (await gateway.request("models.list", {}))["models"]}
    running = []
    for loaded in status["models"]:
        if loaded["state"] not in ("ready", "starting"):
            continue
        name = without_path(loaded["name"])
        model = {"size_bytes": loaded["facts"].get("model_bytes", 0), **listed.get(name, {}), "name": name}
        left = loaded.get("expires_s")
        running.append(
            {
                **_named(model),
                "size": max(loaded["rss_bytes"], model["size_bytes"]),
                "size_vram": loaded["facts"].get("gpu_bytes", 0),
                "details": ollama_facts.details(model),
                "expires_at": timestamp(time.time() + (_FOR_EVER if left is None else left)),
                "context_length": loaded["context"],
            }
        )
    return running


async def _shown(gateway: Gateway, name: str) -> dict[str, Any]:
    """Raises HttpFailure, ApiError."""
    target = await gateway.target(name)
    status = await gateway.request("status", {})
    if not target and status["backend"] != "llama":
        context = next((model["context"] for model in status["models"] if model["context"]), None)
        return ollama_facts.shown({"name": status["backend"], "chat_template": True, "context": context}, timestamp(0))
    asked = {"model": target.get("model") or status["model"], "templates": True}
    model = await gateway.request("models.show", asked)
    limits = {loaded["name"]: loaded["context"] for loaded in status["models"] if loaded["state"] == "ready"}
    limit = limits.get(model["name"]) or model.get("settings", {}).get("context") or model.get("context")
    modified = await asyncio.to_thread(_modified, model)
    return ollama_facts.shown({**model, "name": without_path(model["name"]), "context": limit}, modified)
