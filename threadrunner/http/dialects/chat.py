"""OpenAI's chat completions: POST /v1/chat/completions, also without /v1, as llama-server has it."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.api.generation import Choice, Generated
from threadrunner.http import conversation, openai_objects, sampling, streams
from threadrunner.http.exchange import AnswerPiece, Order, Progressed, whole
from threadrunner.http.failures import HttpFailure, invalid, openai_error
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.joining import choices
from threadrunner.http.names import without_path
from threadrunner.http.openai_objects import FINGERPRINT, finish_reason
from threadrunner.http.reading import Fields
from threadrunner.http.streams import SSE, Stream

PATHS = ("/v1/chat/completions", "/chat/completions")

_json = msgspec.json.Encoder().encode


def routes(gateway: Gateway) -> list[Route]:
    async def completions(request: Request) -> Response:
        body = await fields(request)
        order = await read(gateway, body)
        if body.flag("stream"):
            return Stream(gateway.exchanges, order, ChatWriter(order, body))
        return JSONResponse(_answer(order, await whole(gateway.exchanges, order)))

    async def input_tokens(request: Request) -> Response:
        tokens = await gateway.count(await read(gateway, await fields(request)))
        return JSONResponse({"object": "response.input_tokens", "input_tokens": tokens})

    counting = [Route(f"{path}/input_tokens", input_tokens, methods=["POST"]) for path in PATHS]
    return [*(Route(path, completions, methods=["POST"]) for path in PATHS), *counting]


async def read(gateway: Gateway, body: Fields) -> Order:
    """Raises HttpFailure."""
    model = body.need_text("model")
    if body.flag("continue_final_message") and body.flag("add_generation_prompt"):
        text = "`continue_final_message` and `add_generation_prompt` contradict each other"
        raise invalid(text, "continue_final_message")
    params = {
        **await gateway.target(model),
        **sampling.read_sampling(body),
        **sampling.read_format(body),
        **conversation.read_tools(body),
        **conversation.read_thinking(body),
        **sampling.read_ours(body),
    }
    if (n := body.whole("n")) is not None:
        params["n"] = n
    if body.flag("logprobs"):
        params["logprobs"] = body.whole("top_logprobs") or 0
    params |= conversation.turns(conversation.read_messages(body), params)
    return Order("generate", params, model)


def _answer(order: Order, answer: Generated) -> dict[str, Any]:
    made = [
        {
            "index": i,
            "message": _message(choice),
            "logprobs": None if choice.logprobs is UNSET else openai_objects.chat_logprobs(choice.logprobs),
            "finish_reason": finish_reason(choice.finish_reason),
        }
        for i, choice in enumerate(choices(answer))
    ]
    return {
        "id": openai_objects.new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": order.model or without_path(answer.model),
        "system_fingerprint": FINGERPRINT,
        "choices": made,
        "usage": openai_objects.usage(answer),
        "timings": openai_objects.timings(answer),
        **_session(answer),
    }


def _session(answer: Generated) -> dict[str, Any]:
    return {} if answer.session is None else {"threadrunner": {"session": answer.session}}


def _message(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []}
    if choice.reasoning is not UNSET:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls is not UNSET and choice.tool_calls:
        message["content"] = choice.text or None
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in choice.tool_calls
        ]
    return message


class ChatWriter:
    """Chunks: each with all of the members that strict clients require (Zed fails without `index`, `created`)."""

    media_type = SSE
    silence = b":\n\n"

    def __init__(self, order: Order, body: Fields) -> None:
        options = body.object("stream_options")
        self._usage = bool(options and options.flag("include_usage"))
        self.tells_progress = bool(body.flag("return_progress"))
        self._n = order.params.get("n", 1)
        self._began = time.monotonic()
        self._head = {
            "id": openai_objects.new_id("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": order.model or "default",
            "system_fingerprint": FINGERPRINT,
        }

        # A token's chunk but for its text, cut where that goes: an object for each would cost more than all the rest.
        empty = streams.data({**self._head, "choices": [_choice(0, {"content": ""})]})
        self._before, _, self._after = empty.rpartition(b'""')

    def begin(self) -> bytes:
        first = {"role": "assistant", "content": ""}
        return b"".join(self._chunk(i, first) for i in range(self._n))

    def piece(self, piece: AnswerPiece) -> bytes:
        if piece.kind == "text" and piece.choice == 0:
            return self._before + _json(piece.text) + self._after
        match piece.kind:
            case "reasoning":
                return self._chunk(piece.choice, {"reasoning_content": piece.text})
            case "call":
                return self._chunk(piece.choice, {"tool_calls": [_call_part(piece)]})
        return self._chunk(piece.choice, {"content": piece.text})

    def progress(self, progress: Progressed) -> bytes:
        if not self.tells_progress or progress.stage != "prefill":
            return self.silence
        took = round((time.monotonic() - self._began) * 1e3)
        told = {"total": progress.total, "cache": 0, "processed": progress.done, "time_ms": took}
        return streams.data({**self._head, "choices": [_choice(0, {})], "prompt_progress": told})

    def end(self, answer: Generated) -> bytes:
        """With the log-probabilities, which come all together in the chunk before the last. The last chunk of all has
        what is ours and llama-server's, whether usage was asked for or not."""
        chunks: list[dict[str, Any]] = []
        for i, choice in enumerate(choices(answer)):
            if choice.logprobs is not UNSET:
                told = openai_objects.chat_logprobs(choice.logprobs)
                chunks.append({"choices": [{**_choice(i, {"content": ""}), "logprobs": told}]})
            chunks.append({"choices": [_choice(i, {}, finish_reason(choice.finish_reason))]})
        if self._usage:
            chunks.append({"choices": [], "usage": openai_objects.usage(answer)})
        chunks[-1] |= {"timings": openai_objects.timings(answer), **_session(answer)}
        return b"".join(streams.data({**self._head, **chunk}) for chunk in chunks) + streams.DONE

    def failed(self, failure: HttpFailure) -> bytes:
        return streams.data({"error": openai_error(failure)})

    def _chunk(self, index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return streams.data({**self._head, "choices": [_choice(index, delta, finish)]})


def _choice(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


def _call_part(piece: AnswerPiece) -> dict[str, Any]:
    """The first piece of a call has its id and name; the AI SDK needs them there, with the type."""
    assert piece.call is not None
    part: dict[str, Any] = {"index": piece.call.number}
    if piece.call.id is not None:
        part |= {"id": piece.call.id, "type": "function"}
    named = {} if piece.call.name is None else {"name": piece.call.name}
    return {**part, "function": {**named, "arguments": piece.text}}
