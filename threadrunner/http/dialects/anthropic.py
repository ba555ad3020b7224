"""Anthropic's messages: POST /v1/messages and /v1/messages/count_tokens, and what Claude Code asks beside them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.http import anthropic_conversation, anthropic_objects, conversation, loaded, sampling
from threadrunner.http.exchange import Order, whole
from threadrunner.http.failures import invalid
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.openai_objects import new_id
from threadrunner.http.reading import Fields
from threadrunner.http.streams import Stream

_EFFORTS = {"xhigh": "high", "max": "high"}
"""Templates know three."""


def routes(gateway: Gateway) -> list[Route]:
    async def messages(request: Request) -> Response:
        body = await fields(request)
        order = await read(gateway, body)
        request_id = new_id("req_")
        response: Response
        if body.flag("stream"):
            size = len(await request.body())
            writer = anthropic_objects.MessageWriter(order, size, request_id)
            response = Stream(gateway.exchanges, order, writer)
        else:
            response = JSONResponse(anthropic_objects.message(order, await whole(gateway.exchanges, order)))
        response.headers["request-id"] = request_id
        return response

    async def count_tokens(request: Request) -> Response:
        return JSONResponse({"input_tokens": await _count(gateway, await fields(request))})

    return [
        Route("/v1/messages", messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
        Route("/api/hello", _hello),
        # What Claude Code tells of itself; a 404 makes it try again and again. It is not read.
        Route("/api/event_logging/{rest:path}", _events, methods=["POST"]),
    ]


async def read(gateway: Gateway, body: Fields) -> Order:
    """Raises HttpFailure."""
    model = body.need_text("model")
    params = {
        **await gateway.target(model),
        **sampling.read_sampling(body),
        **_format(body),
        **anthropic_conversation.read_tools(body),
        **_thinking(body),
        **sampling.read_ours(body),
    }
    if stop := sampling.read_stop(body, "stop_sequences"):
        params["stop"] = stop
    params |= conversation.turns(await _messages(gateway, body, params), params)
    return Order("generate", params, model)


async def _messages(gateway: Gateway, body: Fields, params: dict[str, Any]) -> list[dict[str, Any]]:
    """Raises HttpFailure."""
    # a session keeps no pictures of tools
    seen = "session" not in params and anthropic_conversation.results_show(body)
    seen = seen and await loaded.sees(gateway, params.get("model"))
    return anthropic_conversation.read_messages(body, seen=seen)


def _thinking(body: Fields) -> dict[str, Any]:
    """Without `thinking` there is none, as at the service: a client that did not ask may know no such blocks."""
    given = body.object("thinking")
    kind = given.text("type") if given else None
    if given is None or kind in (None, "disabled"):
        return {"reasoning": "off"}
    if kind not in ("enabled", "adaptive"):
        raise invalid(f"`{given.place('type')}` must be enabled, adaptive or disabled", given.place("type"))
    variables: dict[str, Any] = {"enable_thinking": True}
    output = body.object("output_config")
    if output is not None and (effort := output.text("effort")):
        variables["reasoning_effort"] = _EFFORTS.get(effort, effort)
    params: dict[str, Any] = {"template_vars": variables}
    if (budget := given.whole("budget_tokens")) is not None:
        params["reasoning_budget"] = max(budget, 0)
    return params


def _format(body: Fields) -> dict[str, Any]:
    """What the answer must be; the second name is that of its first months."""
    output = body.object("output_config")
    wanted = (output.object("format") if output else None) or body.object("output_format")
    if wanted is None:
        return {}
    schema = wanted.get("schema")
    if wanted.text("type") != "json_schema" or schema is None:
        raise invalid(
            f"`{wanted.place('schema')}`: the format must be a json_schema with a schema", wanted.place("schema")
        )
    return {"json_schema": schema}


async def _count(gateway: Gateway, body: Fields) -> int:
    """How many tokens the model would be shown. Raises HttpFailure, ApiError."""
    params = await gateway.target(body.need_text("model"))
    tools = anthropic_conversation.read_tools(body)
    if tools and tools["tool_choice"] != "none":
        params["tools"] = tools["tools"]
    off = {"enable_thinking": False, "thinking": False}  # as the daemon has it
    params["template_vars"] = _thinking(body).get("template_vars", off)
    params["messages"] = await _messages(gateway, body, params)
    applied = await gateway.request("apply_template", params)
    tokens: int = applied["tokens"]
    return tokens


async def _hello(_request: Request) -> Response:
    return JSONResponse({"message": "hello"})


async def _events(_request: Request) -> Response:
    return JSONResponse({"accepted_count": 0, "rejected_count": 0})
