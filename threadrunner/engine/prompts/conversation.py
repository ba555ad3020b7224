"""A conversation in the form that one template takes: what clients send varies, and what templates take varies more.

`normal` makes of any conversation the one form that everything here works on. `Form` says how it is rewritten for a
template that refuses that form, or passes over a part of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

Message = Mapping[str, Any]
"""`role` (system, developer, user, assistant, tool) and `content`; an assistant's `tool_calls` in OpenAI's shape and
its `reasoning`; a tool's `tool_call_id`, and its `name` where it is known."""

SHORT_ID = re.compile(r"[A-Za-z0-9]{9}\Z")


@dataclass(frozen=True, slots=True)
class Form:
    """How a conversation is put for a template."""

    systems: Literal["kept", "first", "next"] = "kept"
    """A system message stays where it is; all go into the first; each goes before the text of the next user."""
    text_arguments: bool = False
    """Calls' arguments are JSON text, not objects."""
    short_ids: bool = False
    """Ids of calls have nine letters and digits, which Mistral's templates demand."""
    single_calls: bool = False
    """Several calls of an answer become several answers, each followed by its result."""
    thoughts: bool = True
    """Earlier answers come with what was thought before them."""
    joined: bool = False
    """Messages of one role that follow each other become one."""


def forms(messages: Sequence[Message]) -> Iterator[Form]:
    """The forms that may make a difference for such a conversation, the plainest first; one rewriting at a time, then
    two, then all that might help."""
    roles = [m["role"] for m in messages]
    plain = Form()
    changes: list[dict[str, Any]] = []
    if any(m.get("reasoning") for m in messages):
        changes.append({"thoughts": False})
    if any(m.get("tool_calls") for m in messages):
        changes += [{"text_arguments": True}, {"short_ids": True}]
    if any(len(m.get("tool_calls", ())) > 1 for m in messages):
        changes.append({"single_calls": True})
    if any(a == b != "tool" for a, b in pairwise(roles)):
        changes.append({"joined": True})
    systems: list[dict[str, Any]] = []
    if "system" in roles:
        systems = [*([{"systems": "first"}] if "system" in roles[1:] else []), {"systems": "next"}]
    yield plain
    singles = [*systems, *changes]
    yield from (replace(plain, **change) for change in singles)
    for i, one in enumerate(singles):
        yield from (replace(plain, **one, **other) for other in singles[i + 1 :] if not one.keys() & other.keys())
    if len(changes) > 1:
        every = {key: value for change in changes for key, value in change.items()}
        yield from (replace(plain, **every, **system) for system in [{}, *systems])


def normal(messages: Sequence[Message]) -> list[Message]:
    """System messages at the beginning as one, developers as systems, arguments as objects, results with names."""
    names: dict[str, str] = {}
    made = []
    for message in messages:
        role = "system" if message["role"] == "developer" else message["role"]
        one: dict[str, Any] = {"role": role, "content": message.get("content") or ""}
        if calls := message.get("tool_calls"):
            one["tool_calls"] = [_normal_call(call) for call in calls]
            names |= {call["id"]: call["function"]["name"] for call in one["tool_calls"]}
        if role == "tool":
            one["tool_call_id"] = message.get("tool_call_id") or ""
            one["name"] = message.get("name") or names.get(one["tool_call_id"], "")
        if role == "assistant" and message.get("reasoning"):
            one["reasoning"] = message["reasoning"]
        made.append(one)
    return _one_system(made)


def _normal_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = as_object(arguments)
    return {
        "id": call.get("id") or "",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def as_object(text: str) -> Any:
    """JSON text as the object that it is; as the text itself where it is none: a model may have been cut short."""
    try:
        value = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _one_system(messages: list[dict[str, Any]]) -> list[Message]:
    count = next((i for i, m in enumerate(messages) if m["role"] != "system"), len(messages))
    if count < 2:
        return list(messages)
    return [_system(messages[:count]), *messages[count:]]


def _system(messages: Sequence[Message]) -> dict[str, Any]:
    return {"role": "system", "content": "\n\n".join(m["content"] for m in messages if m["content"].strip())}


def put(messages: Sequence[Message], form: Form) -> list[Message] | None:
    """The conversation in that form; None where it cannot be put so: a system message goes before the next user's text,
    and none follows."""
    put: list[Message] | None = list(messages)
    if form.systems == "first":
        systems = [m for m in messages if m["role"] == "system"]
        put = [_system(systems), *(m for m in messages if m["role"] != "system")]
    elif form.systems == "next":
        put = _into_users(messages)
    if put is None:
        return None
    if form.single_calls:
        put = _one_by_one(put)
    if form.joined:
        put = _joined(put)
    return [_with_calls(m, form) if m.get("tool_calls") or m["role"] == "tool" else m for m in put]


def _into_users(messages: Sequence[Message]) -> list[Message] | None:
    """For templates that know no system role (Gemma's refuses it, others pass over it)."""
    kept: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "system":
            waiting += [message["content"]] if message["content"].strip() else []
        elif waiting and message["role"] == "user":
            kept.append({**message, "content": "\n\n".join([*waiting, message["content"]])})
            waiting = []
        else:
            kept.append(message)
    return None if waiting else kept


def _one_by_one(messages: Sequence[Message]) -> list[Message]:
    kept: list[Message] = []
    results = {m["tool_call_id"]: m for m in messages if m["role"] == "tool"}
    done: set[int] = set()
    for message in messages:
        if id(message) in done:
            continue
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            kept.append(message)
            continue
        for i, call in enumerate(calls):
            first = message if i == 0 else {"role": "assistant", "content": ""}
            kept.append({**first, "tool_calls": [call]})
            if (result := results.get(call["id"])) is not None:
                kept.append(result)
                done.add(id(result))
    return kept


def _joined(messages: Sequence[Message]) -> list[Message]:
    kept: list[Message] = []
    for message in messages:
        before = kept[-1] if kept else None
        plain = message["role"] in ("system", "user", "assistant") and not message.get("reasoning")
        if before is None or before["role"] != message["role"] or not plain or before.get("tool_calls"):
            kept.append(message)
        else:
            both = "\n\n".join(part for part in (before["content"], message["content"]) if part)
            kept[-1] = {**before, **message, "content": both}
    return kept


def _with_calls(message: Message, form: Form) -> Message:
    changed = dict(message)
    if message["role"] == "tool":
        changed["tool_call_id"] = _id(message["tool_call_id"], form)
        return changed
    changed["tool_calls"] = [
        {
            **call,
            "id": _id(call["id"], form),
            "function": {**call["function"], "arguments": _arguments(call["function"]["arguments"], form)},
        }
        for call in message["tool_calls"]
    ]
    return changed


def _arguments(arguments: Any, form: Form) -> Any:
    if form.text_arguments and not isinstance(arguments, str):
        return json.dumps(arguments, ensure_ascii=False)
    return arguments


def _id(given: str, form: Form) -> str:
    if not form.short_ids or SHORT_ID.match(given):
        return given
    return hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()[:9]
