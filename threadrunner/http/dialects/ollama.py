"""Ollama's way to ask: POST /api/generate, /api/chat, /api/embed and the older /api/embeddings."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.http import conversation, images, infill_markers, ollama_conversation
from threadrunner.http.dialects.embeddings import embed
from threadrunner.http.exchange import Order, whole
from threadrunner.http.failures import invalid
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.ollama_objects import Lines
from threadrunner.http.reading import Fields
from threadrunner.http.streams import Stream


def routes(gateway: Gateway) -> list[Route]:
    async def generate(request: Request) -> Response:
        body = await fields(request)
        if not (body.text("prompt") or body.text("suffix")):
            return await _load(gateway, body, chat=False)
        return await _answer(gateway, body, await read_generate(gateway, body), chat=False)

    async def chat(request: Request) -> Response:
        body = await fields(request)
        if not body.items("messages"):
            return await _load(gateway, body, chat=True)
        return await _answer(gateway, body, await read_chat(gateway, body), chat=True)

    async def several(request: Request) -> Response:
        return JSONResponse(await _embed(gateway, await fields(request)))

    async def single(request: Request) -> Response:
        return JSONResponse(await _embedding(gateway, await fields(request)))

    handlers = {"generate": generate, "chat": chat, "embed": several, "embeddings": single}
    return [Route(f"/api/{name}", handler, methods=["POST"]) for name, handler in handlers.items()]


async def read_generate(gateway: Gateway, body: Fields) -> Order:
    """A prompt to answer; with `suffix`, code to fill in; with `raw`, a text to continue. Raises HttpFailure."""
    model = ollama_conversation.read_model(body)
    params = {**await gateway.target(model), **ollama_conversation.read_params(body)}
    prompt = body.text("prompt") or ""
    cursor = infill_markers.parse(prompt) if body.flag("raw") else None  # as Zed asks for its edit predictions
    if cursor or (suffix := body.text("suffix")):
        for name in ("reasoning", "template_vars", "session", "memory"):
            params.pop(name, None)
        middle = infill_markers.asked(cursor) if cursor else {"prefix": prompt, "suffix": suffix}
        return Order("infill", {**params, **middle}, model)
    params["prompt"] = prompt
    if pictures := images.listed(body):
        params["images"] = pictures
    if body.flag("raw"):
        params |= {"raw": True, "special": True}
    elif system := body.text("system"):
        params["system"] = system
    return Order("generate", params, model)


async def read_chat(gateway: Gateway, body: Fields) -> Order:
    """Raises HttpFailure."""
    model = ollama_conversation.read_model(body)
    params = {
        **await gateway.target(model),
        **ollama_conversation.read_params(body),
        **conversation.read_tools(body),
    }
    params |= conversation.turns(ollama_conversation.read_messages(body), params)
    return Order("generate", params, model)


async def _answer(gateway: Gateway, body: Fields, order: Order, *, chat: bool) -> Response:
    """Streamed, unless the body says that it is not to be."""
    lines = Lines(order, chat=chat)
    if body.flag("stream") is False:
        return JSONResponse(lines.whole(await whole(gateway.exchanges, order)))
    return Stream(gateway.exchanges, order, lines)


async def _load(gateway: Gateway, body: Fields, *, chat: bool) -> Response:
    """A request that asks nothing loads the model; one with `keep_alive` 0 unloads it."""
    model = ollama_conversation.read_model(body)
    target = await gateway.target(model)
    given = body.get("keep_alive")
    kept = None if given is None else ollama_conversation.seconds(given)
    lines = Lines(Order("models.load", {}, model), chat=chat)
    if kept == 0:
        await gateway.request("models.unload", target or await _default(gateway))
        return JSONResponse(lines.loaded("unload"))
    await gateway.request("models.load", target if kept is None else {**target, "keep_alive": kept})
    return JSONResponse(lines.loaded("load"))


async def _default(gateway: Gateway) -> dict[str, Any]:
    """Params that name the default model: `models.unload` without a name would mean all."""
    status = await gateway.request("status", {})
    return {"model": status["model"]} if status["backend"] == "llama" else {"backend": status["backend"]}


async def _embed(gateway: Gateway, body: Fields) -> dict[str, Any]:
    began = time.monotonic_ns()
    model = ollama_conversation.read_model(body)
    given = body.get("input")
    texts = [given] if isinstance(given, str) else body.items("input") or []
    if not all(isinstance(text, str) for text in texts):
        raise invalid("`input` must be a text or a list of texts", "input")
    vectors, tokens = await _vectors(gateway, body, model, texts)
    return {
        "model": model,
        "embeddings": vectors,
        "total_duration": time.monotonic_ns() - began,
        "load_duration": 0,
        "prompt_eval_count": tokens,
    }


async def _embedding(gateway: Gateway, body: Fields) -> dict[str, Any]:
    texts = [text] if (text := body.text("prompt")) else []
    vectors, _ = await _vectors(gateway, body, ollama_conversation.read_model(body), texts)
    return {"embedding": vectors[0] if vectors else []}


async def _vectors(gateway: Gateway, body: Fields, model: str, texts: list[str]) -> tuple[list[list[float]], int]:
    """One for each text, and how many tokens they had."""
    params = await gateway.target(model)
    if (kept := body.get("keep_alive")) is not None:
        params["keep_alive"] = ollama_conversation.seconds(kept)
    if (size := body.whole("dimensions") or 0) > 0:  # Ollama takes 0 for what is not given
        params["dimensions"] = size
    vectors, tokens, _ = await embed(gateway, params, texts)
    return vectors, tokens
