"""Tools for models whose template knows none: told in the system text; calls and results are text too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from threadrunner.engine.tools.sink import ToolSpec

_MAY = "If you do not need a tool, answer in plain text."
_MUST = "You must call a tool now."


def in_words(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolSpec], *, must: bool = False
) -> list[dict[str, Any]]:
    """The conversation without `tool_calls` and without the role `tool`; the tools stand in its system text."""
    system = [str(m["content"]) for m in messages if m["role"] in ("system", "developer")]
    if tools:
        system.append(_described(tools, must))
    names: dict[str, str] = {}
    said: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] in ("system", "developer"):
            continue
        for call in message.get("tool_calls") or ():
            names[call["id"]] = call["function"]["name"]
        turn = _in_words(message, names)
        if said and said[-1]["role"] == turn["role"] and (message["role"] == "tool" or turn["role"] == "assistant"):
            said[-1]["content"] += f"\n{turn['content']}"
        else:
            said.append(turn)
    return [{"role": "system", "content": "\n\n".join(system)}, *said] if system else said


def _in_words(message: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if message["role"] == "tool":
        name = names.get(message.get("tool_call_id") or "", "the tool")
        return {"role": "user", "content": f"Result of {name}: {message['content']}"}
    turn = {key: value for key, value in message.items() if key != "tool_calls"}
    calls = [_call(call["function"]) for call in message.get("tool_calls") or ()]
    turn["content"] = "\n".join(filter(None, (message["content"], *calls)))
    return turn


def _call(function: Mapping[str, Any]) -> str:
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f'{{"name": {json.dumps(function["name"])}, "arguments": {text}}}'


def _described(tools: Sequence[ToolSpec], must: bool) -> str:
    lines = [
        json.dumps(
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}, ensure_ascii=False
        )
        for tool in tools
    ]
    return "\n".join(
        [
            "You can call these tools:",
            *lines,
            'To call one, answer with nothing but this JSON: {"name": "the tool\'s name", "arguments": {…}}',
            "The result comes in the next message. " + (_MUST if must else _MAY),
        ]
    )
