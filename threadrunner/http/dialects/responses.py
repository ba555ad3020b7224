"""OpenAI's Responses: POST /v1/responses, which Codex speaks. Nothing is kept: each request has the whole conversation,
or names one that the daemon keeps."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.http import conversation, responses_input, responses_objects, sampling
from threadrunner.http.exchange import Order, whole
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.joining import choices
from threadrunner.http.reading import Fields
from threadrunner.http.responses_objects import ResponseState
from threadrunner.http.responses_stream import ResponsesWriter
from threadrunner.http.streams import Stream

PATHS = ("/v1/responses", "/responses")


def routes(gateway: Gateway) -> list[Route]:
    async def responses(request: Request) -> Response:
        body = await fields(request)
        order = await read(gateway, body)
        state = ResponseState(
            responses_objects.echoed(body, order.model, responses_objects.told_tools(body)), _seals(body)
        )
        if body.flag("stream"):
            return Stream(gateway.exchanges, order, ResponsesWriter(state))
        answer = await whole(gateway.exchanges, order)
        status = responses_objects.status_of(answer)
        state.output += responses_objects.items(choices(answer)[0], state, status)
        return JSONResponse(state.now(status, answer))

    async def input_tokens(request: Request) -> Response:
        tokens = await gateway.count(await read(gateway, await fields(request)))
        return JSONResponse({"object": "response.input_tokens", "input_tokens": tokens})

    counting = [Route(f"{path}/input_tokens", input_tokens, methods=["POST"]) for path in PATHS]
    return [*(Route(path, responses, methods=["POST"]) for path in PATHS), *counting]


async def read(gateway: Gateway, body: Fields) -> Order:
    """Raises HttpFailure."""
    model = body.need_text("model")
    responses_input.refuse_stored(body)
    text = body.object("text")
    params: dict[str, Any] = {
        **await gateway.target(model),
        **sampling.read_sampling(body),
        **sampling.read_wanted(text.object("format") if text else None),
        **conversation.read_tools(body),
        **_thinking(body),
        **sampling.read_ours(body),
    }
    if body.text("truncation") == "auto":
        params["context_overflow"] = "truncate"
    if (top := body.whole("top_logprobs")) is not None or "message.output_text.logprobs" in (
        body.items("include") or []
    ):
        params["logprobs"] = top or 0
    params |= conversation.turns(responses_input.read_input(body), params)
    return Order("generate", params, model)


def _thinking(body: Fields) -> dict[str, Any]:
    given = body.object("reasoning")
    effort = given.text("effort") if given else None
    return conversation.read_thinking(Fields({**body.plain(), "reasoning_effort": effort}))


def _seals(body: Fields) -> bool:
    return "reasoning.encrypted_content" in (body.items("include") or [])
