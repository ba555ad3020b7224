"""llama-server's own completions: POST /completion, and /completions without /v1."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.http import sampling
from threadrunner.http.dialects.llama import objects
from threadrunner.http.dialects.llama.objects import LlamaWriter
from threadrunner.http.dialects.llama.words import read_chains
from threadrunner.http.exchange import Order, whole
from threadrunner.http.failures import invalid
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.loaded import adapters_of, context_of
from threadrunner.http.reading import Fields
from threadrunner.http.streams import Stream

MANY = 64
"""Prompts in one request."""


def routes(gateway: Gateway) -> list[Route]:
    async def completion(request: Request) -> Response:
        body = await fields(request)
        common = await read(gateway, body)
        orders = [await _order(gateway, common, prompt) for prompt in _prompts(body)]
        wanted = objects.read_fields(body)
        n_ctx = await context_of(gateway, common.params.get("model"))
        if body.flag("stream"):
            if len(orders) > 1:
                raise invalid("a stream has one prompt; send the others apart", "prompt")
            writer = LlamaWriter(orders[0], wanted, n_ctx, bool(body.flag("return_progress")))
            return Stream(gateway.exchanges, orders[0], writer)
        made = await _answers(gateway, orders, wanted)
        return JSONResponse(made[0] if len(made) == 1 else made)

    return [Route(path, completion, methods=["POST"]) for path in ("/completion", "/completions")]


async def read(gateway: Gateway, body: Fields) -> Order:
    """All but the prompt. Raises HttpFailure."""
    model = body.text("model") or ""
    if body.items("image_data"):
        raise invalid("this model reads text only: leave out `image_data`", "image_data")
    params = {
        **await gateway.target(model),
        **sampling.read_sampling(body),
        **sampling.read_format(body),
        **read_chains(body),
        **sampling.read_ours(body),
    }
    if (probabilities := body.whole("n_probs")) is not None and probabilities > 0:
        params["logprobs"] = probabilities
    if body.items("lora") is not None:
        params["lora"] = await _adapters(gateway, body, params.get("model"))
    if (n := body.whole("n_cmpl", "n")) is not None:
        params["n"] = n
    return Order("generate", params, model)


async def _adapters(gateway: Gateway, body: Fields, model: str | None) -> dict[str, float]:
    """By their numbers, as GET /lora-adapters has them."""
    names = list(await adapters_of(gateway, model))
    wanted = {}
    for item in body.objects("lora"):
        number = item.whole("id")
        if number is None or not 0 <= number < len(names):
            raise invalid(f"`lora` must name adapters by their `id`; GET /lora-adapters lists {len(names)}", "lora")
        scale = item.number("scale")
        wanted[names[number]] = 1.0 if scale is None else float(scale)
    return wanted


async def _answers(gateway: Gateway, orders: list[Order], wanted: list[str]) -> list[dict[str, Any]]:
    """Of all prompts at once: the engine has them in its batches together."""
    tasks = [asyncio.ensure_future(whole(gateway.exchanges, order)) for order in orders]
    try:
        answers = await asyncio.gather(*tasks)
    finally:  # where one has failed, or the client has gone, the others are given up
        for task in tasks:
            task.cancel()
    n_ctx = await context_of(gateway, orders[0].params.get("model"))
    made = [
        one
        for order, answer in zip(orders, answers, strict=True)
        for one in objects.results(order, answer, n_ctx, wanted)
    ]
    if not wanted:
        for index, one in enumerate(made):
            one["index"] = index
    return made


def _prompts(body: Fields) -> list[Any]:
    """One prompt, or several: a text; token ids; texts and ids in turn; a list of any of these. Raises HttpFailure."""
    given = body.get("prompt")
    if given is None:
        raise invalid("`prompt` is missing", "prompt")
    several = isinstance(given, list) and not any(isinstance(part, int) for part in given) and bool(given)
    prompts = given if several else [given]
    if len(prompts) > MANY:
        raise invalid(f"at most {MANY} prompts in one request", "prompt")
    return prompts


async def _order(gateway: Gateway, common: Order, prompt: Any) -> Order:
    """`common` with this prompt. Raises HttpFailure."""
    if isinstance(prompt, dict) and isinstance(prompt.get("prompt_string"), str) and not prompt.get("multimodal_data"):
        prompt = prompt["prompt_string"]
    if isinstance(prompt, str):
        params = {**common.params, "prompt": prompt, "raw": True, "special": True}
        return Order("generate", params, common.model)
    if not isinstance(prompt, list) or not prompt:
        raise invalid("`prompt` must be a text, or a list of texts and token ids", "prompt")
    tokens: list[int] = []
    for part in prompt:
        if isinstance(part, str):
            asked = {**_target(common), "text": part, "special": True, "ends": not tokens}
            tokens += (await gateway.request("tokenize", asked))["tokens"]
        elif isinstance(part, int) and not isinstance(part, bool):
            tokens.append(part)
        else:
            raise invalid("`prompt` must be a text, or a list of texts and token ids", "prompt")
    text: str = (await gateway.request("detokenize", {**_target(common), "tokens": tokens}))["text"]
    return Order("generate", {**common.params, "prompt_tokens": tokens}, common.model, prompt=text)


def _target(order: Order) -> dict[str, Any]:
    return {name: order.params[name] for name in ("model",) if name in order.params}
