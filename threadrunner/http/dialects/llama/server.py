"""What llama-server's clients ask beside completions: /health, /props, /slots, /tokenize, /detokenize,
/apply-template. Nothing here loads a model but what counts tokens, and nothing changes one."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner import __version__
from threadrunner.http import conversation
from threadrunner.http.dialects.llama import words
from threadrunner.http.failures import HttpFailure
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.known import sees
from threadrunner.http.loaded import adapters_of, status_of
from threadrunner.http.names import without_path
from threadrunner.http.reading import Fields

BUILD = f"threadrunner-{__version__}"

_REFUSED = {
    "/rerank": "a model that ranks texts is not supported",
    "/reranking": "a model that ranks texts is not supported",
    "/v1/rerank": "a model that ranks texts is not supported",
    "/v1/reranking": "a model that ranks texts is not supported",
    "/props": "properties are set in config.toml, not over HTTP",
    "/slots/{id}": "slots are not saved or restored by hand: what was evaluated is kept without that",
    "/lora-adapters": "adapters are not set for all requests: each names its own, by `lora`",
}
"""POST to these: what llama-server has, and we have not."""

Answer = Callable[[Request], Awaitable[Response]]


def routes(gateway: Gateway) -> list[Route]:
    about = _About(gateway)
    texts = _Texts(gateway)
    gets: dict[str, Answer] = {
        "/health": _health, "/v1/health": _health, "/props": about.props, "/v1/props": about.props,
        "/slots": about.slots, "/lora-adapters": about.adapters,
    }  # fmt: skip
    posts: dict[str, Answer] = {
        "/tokenize": texts.tokenize, "/detokenize": texts.detokenize, "/apply-template": texts.apply_template,
    }  # fmt: skip
    return [
        *(Route(path, answer, methods=["GET"]) for path, answer in gets.items()),
        # llama.vscode puts them behind an endpoint that may end in /v1.
        *(Route(at + path, answer, methods=["POST"]) for at in ("", "/v1") for path, answer in posts.items()),
        *(Route(path, _refusing(text), methods=["POST"]) for path, text in _REFUSED.items()),
    ]


def _refusing(text: str) -> Answer:
    async def refuse(_request: Request) -> Response:
        raise HttpFailure(501, "not_supported_error", text, "not_supported")

    return refuse


async def _health(_request: Request) -> Response:
    """Always well: a request waits while its model loads, and starts the daemon where there is none."""
    return JSONResponse({"status": "ok"})


class _About:
    """A model's properties, and what runs."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def props(self, request: Request) -> Response:
        """Never loads, with `autoload=false` or without."""
        name = (await self._gateway.target(request.query_params.get("model"))).get("model")
        status = await status_of(self._gateway, name)
        shown = await self._shown(name)
        templates = shown.get("templates") or {}
        template = templates.get("default", "")
        context = int(status["context"]) if status else shown.get("context") or 0
        said = shown.get("defaults") or {}
        caps = _caps(template, templates.get("tool_use"))
        props = {
            "default_generation_settings": {"n_ctx": context, "params": {"n_predict": -1, **words.told(said)}},
            "total_slots": _slots(status),
            "model_alias": without_path(shown.get("name", "") or (status["name"] if status else "")),
            # Its name only: where it is on this machine is nothing to a client.
            "model_path": os.path.basename(shown.get("path") or ""),
            "modalities": {"vision": sees(shown, status), "audio": False, "video": False},
            "endpoint_slots": True,
            "endpoint_props": False,
            "endpoint_metrics": True,
            "chat_template": template,
            "chat_template_caps": caps,
            **({"system_prompt": said["system"]} if "system" in said else {}),
            "build_info": BUILD,
            "is_sleeping": status is None or status["state"] != "ready",
        }
        return JSONResponse(props)

    async def _shown(self, name: str | None) -> dict[str, Any]:
        """`models.show`; empty for a backend that has no models."""
        about = await self._gateway.request("status", {})
        if about["backend"] != "llama" and name is None:
            return {}
        shown: dict[str, Any] = await self._gateway.request(
            "models.show", {"model": name or about["model"], "templates": True}
        )
        return shown

    async def adapters(self, request: Request) -> Response:
        """Those that the model was loaded with; none while it is not."""
        name = (await self._gateway.target(request.query_params.get("model"))).get("model")
        found = (await adapters_of(self._gateway, name)).items()
        return JSONResponse([{"id": id, "path": path, "scale": scale} for id, (path, scale) in enumerate(found)])

    async def slots(self, request: Request) -> Response:
        """One for each request that runs, and at least one, of each loaded model."""
        models = (await self._gateway.request("status", {}))["models"]
        if name := (await self._gateway.target(request.query_params.get("model"))).get("model"):
            models = [model for model in models if model["name"] == name]
        if request.query_params.get("fail_on_no_slot") and any(model["queued"] for model in models):
            raise HttpFailure(503, "unavailable_error", "no slot available", headers={"retry-after": "1"})
        made = [
            {"id": number, "model": without_path(model["name"]), "n_ctx": model["context"], "speculative": False,
             "is_processing": number < model["active"]}
            for model in models
            for number in range(_slots(model))
        ]  # fmt: skip
        return JSONResponse(made)


def _slots(status: dict[str, Any] | None) -> int:
    """There are no slots of a fixed number: as many requests run as the context has room for."""
    return max(1, status["active"]) if status else 1


def _caps(template: str, for_tools: str | None) -> dict[str, bool]:
    """What a template shows, by the names of variables in it: llama-server tries it out, and reports it so."""
    both = template + (for_tools or "")
    return {
        "supports_tools": "tools" in both,
        "supports_tool_calls": "tool_calls" in both,
        "supports_parallel_tool_calls": "tool_calls" in both,
        "supports_system_role": "system" in both,
        "supports_preserve_reasoning": "reasoning_content" in both,
        "supports_typed_content": False,
        "supports_string_content": True,
    }


class _Texts:
    """Texts and tokens."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def tokenize(self, request: Request) -> Response:
        body = await fields(request)
        pieces = bool(body.flag("with_pieces"))
        asked = {
            **await self._target(body),
            "text": body.text("content") or "",
            "ends": bool(body.flag("add_special")),
            "special": body.flag("parse_special") is not False,
            "pieces": pieces,
        }
        result = await self._gateway.request("tokenize", asked)
        tokens = result["tokens"]
        if pieces:
            tokens = [{"id": id, "piece": piece} for id, piece in zip(tokens, result["pieces"], strict=True)]
        return JSONResponse({"tokens": tokens})

    async def detokenize(self, request: Request) -> Response:
        body = await fields(request)
        asked = {**await self._target(body), "tokens": body.items("tokens") or []}
        return JSONResponse({"content": (await self._gateway.request("detokenize", asked))["text"]})

    async def apply_template(self, request: Request) -> Response:
        body = await fields(request)
        kept = ("tools",)  # which of them may be called is no matter of the prompt
        tools = {name: value for name, value in conversation.read_tools(body).items() if name in kept}
        variables = body.object("chat_template_kwargs")
        asked = {
            **await self._target(body),
            "messages": conversation.read_messages(body),
            **tools,
            **({"template_vars": variables.plain()} if variables else {}),
        }
        applied = await self._gateway.request("apply_template", asked)
        return JSONResponse({"prompt": applied["prompt"], "tokens": applied["tokens"]})

    async def _target(self, body: Fields) -> dict[str, Any]:
        return await self._gateway.target(body.text("model"))
