"""Which models there are: GET /v1/models and /v1/models/{name}, with what llama-server's clients look for beside."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.http import known
from threadrunner.http.failures import HttpFailure
from threadrunner.http.gateway import Gateway
from threadrunner.http.known import KnownModel

OWNER = "threadrunner"


def routes(gateway: Gateway) -> list[Route]:
    async def every(_request: Request) -> Response:
        # The default model is fetched with the first prompt: a picker that shows none would not get that far.
        usable = [facts for facts in await known.look(gateway) if facts.usable or facts.default]
        # Codex refuses a server without `models`, and Ollama's readers look there.
        listed = {"data": [_model(gateway, facts) for facts in usable], "models": [_entry(facts) for facts in usable]}
        return JSONResponse({"object": "list", **listed})

    async def one(request: Request) -> Response:
        name = request.path_params["name"]
        meant = await gateway.names.find(name)
        for facts in await known.look(gateway):
            if facts.default if meant is None else facts.name == meant:
                return JSONResponse(_model(gateway, facts))
        text = f"{name!r} is not among the models; GET /v1/models lists them"
        raise HttpFailure(404, "invalid_request_error", text, "model_not_found", "model")

    listing = [Route(path, every, methods=["GET"]) for path in ("/v1/models", "/models")]
    # `path`: names have slashes and colons in them, percent-encoded or not.
    return [*listing, Route("/v1/models/{name:path}", one, methods=["GET"])]


def _model(gateway: Gateway, facts: KnownModel) -> dict[str, Any]:
    """`meta` is what tells llama.vscode that a llama server answers; `max_model_len` is vLLM's name, which Continue
    reads; koog and Zed fail without `created`."""
    meta = {
        "n_ctx": facts.n_ctx or None,
        "n_ctx_train": facts.n_ctx_train or None,
        "n_vocab": facts.n_vocab,
        "n_embd": facts.n_embd,
        "n_params": facts.parameters,
        "size": facts.size,
    }
    return {
        "id": facts.name,
        "object": "model",
        "created": int(gateway.began),
        "owned_by": OWNER,
        "max_model_len": facts.n_ctx or None,
        "meta": meta,
        "status": {"value": facts.state},
        "architecture": {
            "input_modalities": ["text", "image"] if facts.sees else ["text"],
            "output_modalities": ["text"],
        },
        "capabilities": _capabilities(facts),
    }


def _entry(facts: KnownModel) -> dict[str, Any]:
    """Ollama's shape, as llama-server gives it."""
    return {
        "name": facts.name,
        "model": facts.name,
        "modified_at": "",
        "size": str(facts.size),
        "digest": "",
        "type": "model",
        "description": facts.description,
        "tags": [],
        "capabilities": _capabilities(facts),
        "parameters": "",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "",
            "families": [],
            "parameter_size": str(facts.parameters),
            "quantization_level": facts.quantization,
        },
    }


def _capabilities(facts: KnownModel) -> list[str]:
    also = [("chat", facts.chat), ("tools", facts.chat), ("insert", facts.fim), ("vision", facts.sees)]
    return ["completion", *(name for name, it_can in also if it_can)]
