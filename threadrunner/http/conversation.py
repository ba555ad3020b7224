"""Conversations as OpenAI's clients write them, as the daemon takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from threadrunner.http import images
from threadrunner.http.failures import HttpFailure, invalid
from threadrunner.http.reading import Fields

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_SHOWING = ("user", "tool", "function")
"""They may have pictures."""


def read_messages(body: Fields) -> list[dict[str, Any]]:
    """`messages` of the daemon's `generate`. Raises HttpFailure."""
    messages = [_message(item) for item in body.objects("messages")]
    if not messages:
        raise invalid("`messages` is empty", "messages")
    if [message["role"] for message in messages[-2:]] == ["assistant"] * 2:
        raise invalid("two answers at the end: one can be continued; join them", "messages")
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
    if new[0]["role"] == "tool":
        turns: dict[str, Any] = {"messages": new}
    else:
        text, pictures = images.split(new[-1]["content"] or "")
        turns = {"prompt": text, **({"images": pictures} if pictures else {})}
    return turns | ({"system": system} if system else {})


def _message(item: Fields) -> dict[str, Any]:
    role = item.need_text("role")
    if role not in _ROLES:
        raise invalid(
            f"`{item.place('role')}` must be one of {', '.join(_ROLES)}, not {role[:40]!r}", item.place("role")
        )
    content = read_content(item, "content") if role in _SHOWING else read_text(item, "content")
    message: dict[str, Any] = {"role": "tool" if role == "function" else role, "content": content}
    if role == "assistant":
        calls = [_call(call) for call in item.objects("tool_calls")]
        if (call := item.object("function_call")) is not None:  # before there were ids; its result has its name
            calls.append({"id": call.need_text("name"), "function": _function(call)})
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


def read_content(item: Fields, name: str) -> images.Content | None:
    """A text, or the texts of its parts, one after the other; a list where pictures are among them."""
    content = item.get(name)
    if content is None or isinstance(content, str):
        return content
    return images.together([_part(part) for part in item.objects(name)])


def read_text(item: Fields, name: str) -> str | None:
    """Likewise, of what has no pictures. Raises HttpFailure where there is one."""
    content = read_content(item, name)
    if isinstance(content, list):
        place = item.place(name)
        raise invalid(f"`{place}`: only what a user or a tool says may have pictures", place)
    return content


def _part(part: Fields) -> str | images.Part:
    kind = part.text("type") or "text"
    if kind in ("text", "input_text", "output_text"):
        return part.text("text") or ""
    if kind == "refusal":
        return part.text("refusal") or ""
    if kind in ("image_url", "input_image"):
        return images.of_openai(part)
    raise HttpFailure(
        400, "invalid_request_error", f"`{part.place('type')}`: text and pictures are taken, not {kind[:40]!r}",
        "not_supported", part.place("type"),
    )  # fmt: skip


def _call(call: Fields) -> dict[str, Any]:
    return {"id": call.need_text("id"), "function": _function(call.need_object("function"))}


def _function(function: Fields) -> dict[str, Any]:
    arguments = function.get("arguments")
    return {"name": function.need_text("name"), "arguments": "{}" if arguments in (None, "") else arguments}


def read_tools(body: Fields) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls` of `generate`. Tools that are not functions are a service's own
    (web search, a shell): the model is not told of them. Raises HttpFailure."""
    every = [tool for item in body.objects("tools") if (tool := _tool(item)) is not None]
    is_allowed = _allowed(body)
    tools = [tool for tool in every if is_allowed(tool["function"]["name"])]
    choice = read_choice(body)
    if not tools:
        if choice not in ("auto", "none"):
            raise invalid("`tool_choice` asks for a call, and there is no function among `tools`", "tool_choice")
        return {}
    params: dict[str, Any] = {"tools": tools, "tool_choice": choice}
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
    """`tool_choice` of `generate`: a word, or the tool that must be called."""
    if not isinstance(body.get("tool_choice"), dict):
        word = body.text("tool_choice") or "auto"
        return "required" if word == "any" else word
    chosen = body.need_object("tool_choice")
    if (kind := chosen.text("type") or "function") == "function":
        return {"function": {"name": (chosen.object("function") or chosen).need_text("name")}}
    if kind == "allowed_tools":
        return (chosen.object("allowed_tools") or chosen).text("mode") or "auto"
    return "auto"  # a tool of a service's own, which the model is not told of


def _allowed(body: Fields) -> Callable[[str], bool]:
    """Which of the tools `tool_choice` allows: all, but where it lists them."""
    chosen = body.need_object("tool_choice") if isinstance(body.get("tool_choice"), dict) else None
    if chosen is None or chosen.text("type") != "allowed_tools":
        return lambda _name: True
    listed = (chosen.object("allowed_tools") or chosen).objects("tools")
    names = {(tool.object("function") or tool).text("name") for tool in listed}
    return lambda name: name in names


def read_thinking(body: Fields) -> dict[str, Any]:
    """`reasoning_effort` and llama-server's `chat_template_kwargs` are for the template; `none`: not to think."""
    given = body.object("chat_template_kwargs")
    variables = dict(given.plain()) if given else {}
    effort = body.text("reasoning_effort")
    params: dict[str, Any] = {}
    if effort == "none":
        params["reasoning"] = "off"
    elif effort is not None:
        variables.setdefault("reasoning_effort", effort)
    if body.text("reasoning_format") == "none":
        params["reasoning"] = "raw"
    if (budget := body.whole("reasoning_budget", "thinking_budget_tokens")) is not None and budget >= 0:
        params["reasoning_budget"] = budget
    if variables:
        params["template_vars"] = variables
    return params
