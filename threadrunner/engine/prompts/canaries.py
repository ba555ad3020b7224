"""Conversations of made-up words, which show what a template passes over: what was said must be in what is rendered."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threadrunner.engine.prompts.conversation import SHORT_ID, Message

Tool = Mapping[str, Any]
"""OpenAI's nested shape: {"type": "function", "function": {"name", "description", "parameters"}}."""
Shape = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Canary:
    """A conversation of one shape, each text a word of its own."""

    messages: list[Message]
    tools: list[Tool]
    said: list[list[str]]
    """For each message the words that must be in the prompt."""
    keys: list[str]
    """Of calls' arguments: each stands as a JSON key or alone, never as Python or JSON in JSON would write it."""

    def missing(self, text: str) -> list[int]:
        """The messages of which a word is not in the text."""
        text = text.casefold()
        return [i for i, words in enumerate(self.said) if not all(word in text for word in words)]

    def tools_missing(self, text: str) -> bool:
        return any(word not in text for tool in self.tools for word in _tool_words(tool))

    def mangled(self, text: str) -> bool:
        """Whether arguments are there as Python's repr, or as JSON text within a JSON text."""
        return any(f"'{key}'" in text or f'\\"{key}' in text for key in self.keys)


def shape(messages: Sequence[Message], tools: Sequence[Tool], variables: Mapping[str, Any]) -> Shape:
    """What a template's decisions may hang on, beside what the texts say. Equal for conversations of one form."""
    ids: dict[str, int] = {}
    parts: list[Any] = [bool(tools), *variables.items()]
    for message in messages:
        calls = tuple(ids.setdefault(call["id"], len(ids)) for call in message.get("tool_calls", ()))
        answers = ids.get(message["tool_call_id"], -1) if message["role"] == "tool" else -1
        parts.append((message["role"], bool(message["content"].strip()), "reasoning" in message, calls, answers))
    parts.append(all(map(SHORT_ID.match, ids)))
    return tuple(parts)


def canary(messages: Sequence[Message], tools: Sequence[Tool]) -> Canary:
    """A conversation of the same shape; messages as `normal` makes them."""
    made: list[Message] = []
    said: list[list[str]] = []
    keys: list[str] = []
    ids: dict[str, str] = {}
    names: dict[str, str] = {}
    for message in messages:
        one: dict[str, Any] = {"role": message["role"], "content": word() if message["content"].strip() else ""}
        words = [one["content"]] if one["content"] else []
        if "reasoning" in message:
            one["reasoning"] = word()
        if calls := message.get("tool_calls"):
            one["tool_calls"] = [_call(call, ids, names) for call in calls]
            for call in one["tool_calls"]:
                words.append(call["function"]["name"])
                words += _argument_words(call["function"]["arguments"], keys)
        if message["role"] == "tool":
            one["tool_call_id"] = ids.setdefault(message["tool_call_id"], word())
            one["name"] = names.get(one["tool_call_id"], "")
        made.append(one)
        said.append(words)
    return Canary(made, [canary_tool()] if tools else [], said, keys)


def _call(call: Mapping[str, Any], ids: dict[str, str], names: dict[str, str]) -> dict[str, Any]:
    own = word()
    id = ids[call["id"]] = own[:9] if SHORT_ID.match(call["id"]) else own
    name = names[id] = word()
    arguments = {word(): word(), word(): {word(): [word(), True]}}
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _argument_words(arguments: Mapping[str, Any], keys: list[str]) -> list[str]:
    (first, value), (second, nested) = arguments.items()
    (inner, (deep, _)) = next(iter(nested.items()))
    keys += [first, second, inner]
    return [first, value, second, inner, deep]


def canary_tool() -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {
            word(): {"type": "string", "description": word()},
            word(): {"type": "object", "properties": {}},
            word(): {"type": "array"},
        },
    }
    return {"type": "function", "function": {"name": word(), "description": word(), "parameters": parameters}}


def _tool_words(tool: Tool) -> list[str]:
    function = tool["function"]
    return [function["name"], function["description"], *function["parameters"]["properties"]]


def word() -> str:
    return f"q{secrets.token_hex(8)}"
