"""Anthropic's messages: a body in its shape, and its typed events as chunks of OpenAI's. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from threadrunner.api.chat import ImagePart, Message, NamedTool, TextPart, said_by_user
from threadrunner.api.generation import GenerateParams
from threadrunner.backends.remote import bodies
from threadrunner.backends.remote.bodies import Body
from threadrunner.backends.remote.chunks import count, table
from threadrunner.backends.remote.dialects import RemoteDialect

PATH = "/messages"
VERSION = "2023-06-01"
_ANSWER = "answer"
"""The tool whose arguments are the answer, where that must fit a schema."""


def request(dialect: RemoteDialect, model: str, params: GenerateParams) -> Body:
    """Raises NotSupported."""
    plain = bodies.chat(dialect, model, _without_own(params))
    body: Body = {name: plain[name] for name in plain if name not in ("messages", "tools", "tool_choice")}
    body.pop("parallel_tool_calls", None)
    budget = body.pop(dialect.budget, None)
    if budget is not None:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    said = [*([] if params.system is None else [Message("system", params.system)]), *_said(params)]
    system = "\n\n".join(message.text for message in said if message.role in ("system", "developer"))
    if system:
        body["system"] = system
    body["messages"] = _turns([message for message in said if message.role not in ("system", "developer")])
    return body | _tools(params)


def _without_own(params: GenerateParams) -> GenerateParams:
    """Without what is written here in another way."""
    return msgspec.structs.replace(params, json_schema=None, tools=[], tool_choice="auto")


def _said(params: GenerateParams) -> Sequence[Message]:
    return params.messages if params.messages is not None else [said_by_user(params.prompt or "", params.images)]


def _turns(messages: list[Message]) -> list[Body]:
    """Turns of user and assistant alternate; results of calls are the user's."""
    turns: list[Body] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        content = _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += content
        else:
            turns.append({"role": role, "content": content})
    return turns


def _blocks(message: Message) -> list[Body]:
    if message.role == "tool":
        return [
            {
                "type": "tool_result",
                "tool_use_id": message.tool_call_id,
                "content": _shown(message) if message.images else message.text,
            }
        ]
    blocks = _shown(message)
    for call in message.tool_calls:
        arguments = call.function.arguments
        value = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        blocks.append({"type": "tool_use", "id": call.id, "name": call.function.name, "input": value})
    return blocks


def _shown(message: Message) -> list[Body]:
    """Pictures and texts in their order; all of the text as one where there is no picture."""
    parts = message.content if message.images and isinstance(message.content, list) else [TextPart(message.text)]
    shown = [_image(part) if isinstance(part, ImagePart) else {"type": "text", "text": part.text} for part in parts]
    return [block for block in shown if block.get("text") != ""]  # it refuses empty ones


def _image(image: ImagePart) -> Body:
    source = {"type": "base64", "media_type": bodies.media_type(image), "data": bodies.in_base64(image)}
    return {"type": "image", "source": source}


def _tools(params: GenerateParams) -> Body:
    tools = [_tool(one.function.name, one.function.description, one.function.parameters) for one in params.tools]
    if params.json_schema not in (None, False):
        schema = params.json_schema if isinstance(params.json_schema, dict) else {"type": "object"}
        tools.append(_tool(_ANSWER, "Give the answer.", schema))
        return {"tools": tools, "tool_choice": {"type": "tool", "name": _ANSWER}}
    if not tools:
        return {}
    choice = params.tool_choice
    if isinstance(choice, NamedTool):
        chosen: Body = {"type": "tool", "name": choice.function.name}
    else:
        chosen = {"type": {"required": "any"}.get(choice, choice)}
    if not params.parallel_tool_calls and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    return {"tools": tools} if chosen == {"type": "auto"} else {"tools": tools, "tool_choice": chosen}


def _tool(name: str, description: str, parameters: Any) -> Body:
    schema = parameters if isinstance(parameters, dict) else {"type": "object", "properties": {}}
    return {"name": name, "input_schema": schema, **({"description": description} if description else {})}


class MessageEvents:
    """Typed events, one after the other, as chunks of OpenAI's shape."""

    def __init__(self, *, has_schema: bool) -> None:
        self._has_schema = has_schema
        self._usage: dict[str, Any] = {}
        self._calls: dict[int, int] = {}
        """A block's index -> a call's."""

    def chunk(self, event: dict[str, Any]) -> dict[str, Any] | None:
        match event.get("type"):
            case "message_start":
                self._usage = dict(table(table(event.get("message")).get("usage")))
            case "content_block_start":
                return self._block(event)
            case "content_block_delta":
                return self._delta(event)
            case "message_delta":
                self._usage |= table(event.get("usage"))
                reason = table(event.get("delta")).get("stop_reason")
                if self._has_schema and reason == "tool_use":
                    reason = "stop"
                return {"choices": [{"delta": {}, "finish_reason": reason}], "usage": self._counted()}
            case "error":
                return {"error": event.get("error")}
        return None

    def _block(self, event: dict[str, Any]) -> dict[str, Any] | None:
        block = table(event.get("content_block"))
        if block.get("type") != "tool_use" or self._is_answer(block):
            return None
        number = self._calls[count(event.get("index"))] = len(self._calls)
        call = {"index": number, "id": block.get("id"), "function": {"name": block.get("name"), "arguments": ""}}
        return {"choices": [{"delta": {"tool_calls": [call]}}]}

    def _is_answer(self, block: dict[str, Any]) -> bool:
        return self._has_schema and block.get("name") == _ANSWER

    def _delta(self, event: dict[str, Any]) -> dict[str, Any] | None:
        delta = table(event.get("delta"))
        match delta.get("type"):
            case "text_delta":
                shown: dict[str, Any] = {"content": delta.get("text")} if not self._has_schema else {}
            case "thinking_delta":
                shown = {"reasoning_content": delta.get("thinking")}
            case "input_json_delta":
                part, number = str(delta.get("partial_json") or ""), self._calls.get(count(event.get("index")))
                call = {"index": number, "function": {"arguments": part}}
                shown = {"content": part} if number is None else {"tool_calls": [call]}
            case _:
                return None
        return {"choices": [{"delta": shown}]}

    def _counted(self) -> dict[str, Any]:
        """Its prompt's tokens are without those that were cached."""
        usage = self._usage
        cached = count(usage.get("cache_read_input_tokens"))
        made = count(usage.get("cache_creation_input_tokens"))
        return {
            "prompt_tokens": count(usage.get("input_tokens")) + cached + made,
            "completion_tokens": count(usage.get("output_tokens")),
            "prompt_tokens_details": {"cached_tokens": cached},
        }
