"""Requests as Ollama's clients write them, as the daemon takes them."""

from __future__ import annotations

import math
import re
from typing import Any

from threadrunner.api.fields import INT64_MAX
from threadrunner.http import conversation, images, sampling
from threadrunner.http.failures import invalid
from threadrunner.http.reading import Fields

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|)")


def seconds(value: Any) -> float:
    """Of `keep_alive`: a number of seconds, or a text such as "5m" or "1h30m"; below zero: for ever, which is -1 here.
    Raises HttpFailure."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(min(value, INT64_MAX)) if value >= 0 else -1.0
    if isinstance(value, str):
        text = value.strip()
        number = text.lstrip("+-")
        if number and not _DURATION.sub("", number):
            length = sum(float(n) * _SECONDS[unit] for n, unit in _DURATION.findall(number))
            if math.isfinite(length):
                return -1.0 if text.startswith("-") else length
    raise invalid("`keep_alive` must be a number of seconds, or a text such as `5m`", "keep_alive")


def read_model(body: Fields) -> str:
    """Older clients say `name`. Raises HttpFailure."""
    if (name := body.text("model", "name")) is None:
        raise invalid("`model` is missing", "model")
    return name


def read_params(body: Fields) -> dict[str, Any]:
    """What requests for text have in common. Raises HttpFailure."""
    options = body.object("options") or Fields({})
    params = {**sampling.read_sampling(options), **_format(body), **_thinking(body), **sampling.read_ours(body)}
    if (kept := body.get("keep_alive")) is not None:
        params["keep_alive"] = seconds(kept)
    if body.text("template"):
        raise invalid("`template` cannot be set: the model's own is used; `raw` goes without", "template")
    return params


def _format(body: Fields) -> dict[str, Any]:
    wanted = body.get("format")
    if wanted in (None, ""):
        return {}
    if wanted == "json":
        return {"json_schema": True}
    if isinstance(wanted, dict):
        return {"json_schema": wanted}
    raise invalid("`format` must be `json` or a JSON Schema", "format")


def _thinking(body: Fields) -> dict[str, Any]:
    """Absent: as the model does by itself."""
    wanted = body.get("think")
    if wanted is None:
        return {}
    if wanted is False:
        return {"reasoning": "off"}
    variables: dict[str, Any] = {"enable_thinking": True}
    if isinstance(wanted, str):
        variables["reasoning_effort"] = wanted
    return {"template_vars": variables}


def read_messages(body: Fields) -> list[dict[str, Any]]:
    """`messages` of the daemon's `generate`. Calls have no ids here: a result belongs to the first open call of its
    tool's name, else to the first one that is open. Raises HttpFailure."""
    said = []
    open_calls: dict[str, str] = {}
    for i, item in enumerate(body.objects("messages")):
        role = item.need_text("role")
        if role == "tool":
            said.append(_result(item, open_calls))
            continue
        calls = [_call(call, f"call_{i}_{n}") for n, call in enumerate(item.objects("tool_calls"))]
        open_calls |= {call["id"]: call["function"]["name"] for call in calls}
        said.append(_message(item, role, calls))
    return said


def _message(item: Fields, role: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    if role not in ("system", "developer", "user", "assistant"):
        place = item.place("role")
        raise invalid(f"`{place}` must be system, user, assistant or tool, not {role[:40]!r}", place)
    content = conversation.read_content(item, "content") or ""
    if role == "user" and (pictures := images.listed(item)):
        content = images.together([*pictures, *images.parts_of(content)])
    elif role != "user":
        content = conversation.read_text(item, "content") or ""
    message: dict[str, Any] = {"role": role, "content": content}
    if calls and role == "assistant":
        message["tool_calls"] = calls
    if role == "assistant" and (thought := item.text("thinking")):
        message["reasoning"] = thought
    return message


def _call(call: Fields, id: str) -> dict[str, Any]:
    function = call.object("function") or call
    arguments = function.get("arguments")
    named = {"name": function.need_text("name"), "arguments": {} if arguments in (None, "") else arguments}
    return {"id": call.text("id") or id, "function": named}


def _result(item: Fields, open_calls: dict[str, str]) -> dict[str, Any]:
    """One that answers no call is said as the user's: some clients send results without the calls."""
    parts = [*images.listed(item), *images.parts_of(conversation.read_content(item, "content") or "")]
    name = item.text("tool_name", "name")
    given = item.text("tool_call_id")
    matching = [given] if given in open_calls else [id for id, of in open_calls.items() if of == name]
    id = next(iter(matching or open_calls), None)
    if id is None:
        return {"role": "user", "content": images.together([f"Result of {name or 'a tool'}: ", *parts])}
    del open_calls[id]
    return {"role": "tool", "tool_call_id": id, "content": images.together(parts)}
