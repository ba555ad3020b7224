"""Conversations as OpenAI's clients write them, as the daemon takes them."""

from __future__ import annotations

from typing import Any

from threadrunner.http.failures import HttpFailure, invalid
from threadrunner.http.reading import Fields

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def read_messages(body: Fields) -> list[dict[str, Any]]:
    """`messages` of the daemon's `generate`. Raises HttpFailure."""
    messages = [_message(item) for item in body.objects("messages")]
    if not messages:
        raise invalid("`messages` is empty", "messages")
    return messages


def turns(messages: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """The whole conversation; of one that is kept, what follows its last answer, since the daemon has the rest."""
    if "session" not in params:
        return {"messages": messages}
    system = "\n\n".join(message["content"] for message in messages if message["role"] in ("system", "developer"))
    answered = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    new = [message for message in messages[answered + 1 :] if message["role"] in ("user", "tool")]
    if not new:
        raise invalid("a conversation's next turn ends with a message of the user's, or a tool's", "messages")
    turns: dict[str, Any] = {"messages": new} if new[0]["role"] == "tool" else {"prompt": new[-1]["content"]}
    return turns | ({"system": system} if system else {})


def _message(item: Fields) -> dict[str, Any]:
    role = item.need_text("role")
    if role not in _ROLES:
        raise invalid(
            f"`{item.place('role')}` must be one of {', '.join(_ROLES)}, not {role[:40]!r}", item.place("role")
        )
    message: dict[str, Any] = {"role": "tool" if role == "function" else role, "content": read_content(item, "content")}
    if role == "assistant":
        calls = [_call(call) for call in item.objects("tool_calls")]
        if calls:
            message["tool_calls"] = calls
        # Three names: vLLM went over to the second, and its clients came back to the first.
        if thought := item.text("reasoning_content", "reasoning", "thinking"):
            message["reasoning"] = thought
    if role in ("tool", "function"):
        message["tool_call_id"] = item.text("tool_call_id", "name")
    if message["content"] is None and not message.get("tool_calls") and "reasoning" not in message:
        message["content"] = ""
    return message


def read_content(item: Fields, name: str) -> str | None:
    """A text, or the texts of its parts, one after the other; a list of none is an empty text."""
    content = item.get(name)
    if content is None or isinstance(content, str):
        return content
    return "".join(_part(part) for part in item.objects(name))


def _part(part: Fields) -> str:
    kind = part.text("type") or "text"
    if kind in ("text", "input_text", "output_text"):
        return part.text("text") or ""
    if kind == "refusal":
        return part.text("refusal") or ""
    raise HttpFailure(
        400, "invalid_request_error", f"`{part.place('type')}`: this model reads text only, not {kind[:40]!r}",
        "not_supported", part.place("type"),
    )  # fmt: skip


def _call(call: Fields) -> dict[str, Any]:
    function = call.object("function") or Fields({}, call.place("function"))
    arguments = function.get("arguments")
    return {
        "id": call.need_text("id"),
        "function": {"name": function.need_text("name"), "arguments": "{}" if arguments in (None, "") else arguments},
    }


def read_tools(body: Fields) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls` of `generate`. Tools that are not functions are a service's own
    (web search, a shell): the model is not told of them. Raises HttpFailure."""
    tools = [tool for item in body.objects("tools") if (tool := _tool(item)) is not None]
    params: dict[str, Any] = {"tools": tools} if tools else {}
    if tools:
        params["tool_choice"] = read_choice(body)
        if body.flag("parallel_tool_calls") is False:
            params["parallel_tool_calls"] = False
    return params


def _tool(item: Fields) -> dict[str, Any] | None:
    if (item.text("type") or "function") != "function":
        return None
    function = item.object("function") or item  # Responses has no level between
    tool: dict[str, Any] = {"name": function.need_text("name"), "description": function.text("description") or ""}
    if (schema := function.get("parameters")) is not None:
        tool["parameters"] = schema
    return {"function": tool}


def read_choice(body: Fields) -> Any:
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        named = Fields(choice, "tool_choice")
        return {"function": {"name": (named.object("function") or named).need_text("name")}}
    return choice or "auto"
