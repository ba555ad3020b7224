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

_THOUGHT = re.compile(r"\s*<think>\s*(.*?)\s*</think>\s*(.*)", re.DOTALL)
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
    null_content: bool = False
    """An answer that is calls only has the content None, not an empty text."""
    calls_apart: bool = False
    """An answer with text and calls becomes two."""
    talk_first: bool = False
    """What an assistant says between two users is one text before its calls: Mistral's templates drop a text beside a
    call, and take one answer at most. The order of what was said suffers, nothing else."""
    filled_schemas: bool = False
    """Schemas say what may be left out: of what an array or object is, which members must be there, descriptions."""


Changes = tuple[tuple[str, Any], ...]
"""A field of Form and its value, some times over: what may make a difference for a conversation."""


def changes(messages: Sequence[Message], has_tools: bool) -> Changes:
    """What may make a difference for a conversation, beside the place of system messages."""
    calls = [m for m in messages if m.get("tool_calls")]
    may: list[tuple[str, bool]] = [
        ("thoughts", any(m.get("reasoning") for m in messages)),
        ("text_arguments", bool(calls)),
        ("short_ids", bool(calls)),
        ("null_content", any(not m["content"] for m in calls)),
        ("calls_apart", any(m["content"] for m in calls)),
        ("single_calls", any(len(m["tool_calls"]) > 1 for m in calls)),
        ("talk_first", any(m["content"] for m in calls)),
        ("filled_schemas", has_tools),
        ("joined", any(a["role"] == b["role"] != "tool" for a, b in pairwise(messages))),
    ]
    systems = [i for i, m in enumerate(messages) if m["role"] == "system"]
    first = [("systems", "first")] if systems and systems[-1] > 0 else []
    after = [("systems", "next")] if systems else []
    return (*first, *after, *((name, name != "thoughts") for name, it_may in may if it_may))


def forms(changes: Changes) -> Iterator[Form]:
    """The forms that these changes make: the plainest first, then one change at a time, then two, then all."""
    plain = Form()
    yield plain
    for name, value in changes:
        yield replace(plain, **{name: value})
    for i, (name, value) in enumerate(changes):
        yield from (replace(plain, **{name: value, other: more}) for other, more in changes[i + 1 :] if other != name)
    every = {name: value for name, value in changes if name != "systems"}
    if len(every) > 1:
        places = [{name: value} for name, value in changes if name == "systems"]
        yield from (replace(plain, **every, **place) for place in [{}, *places])


def normal(messages: Sequence[Message], *, tagged: bool = False) -> list[Message]:
    """System messages at the beginning as one, developers as systems, arguments as objects, results with names;
    `tagged`: an answer that begins with <think> … </think> as a thought and an answer."""
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
        if role == "assistant":
            thought, answer = message.get("reasoning"), one["content"]
            if not thought and tagged and (found := _THOUGHT.match(answer)):
                thought, one["content"] = found.groups()
            if thought:
                one["reasoning"] = thought
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
    if form.talk_first:
        put = _talk_first(put)
    if form.calls_apart:
        put = [part for message in put for part in _apart(message)]
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


def _apart(message: Message) -> list[Message]:
    if not (message["content"] and message.get("tool_calls")):
        return [message]
    text = {key: value for key, value in message.items() if key != "tool_calls"}
    return [text, {key: value for key, value in message.items() if key != "reasoning"} | {"content": ""}]


def _talk_first(messages: Sequence[Message]) -> list[Message]:
    kept: list[Message] = []
    answers = 0  # where those to the latest user begin
    for message in (part for whole in messages for part in _apart(whole)):
        if message["role"] in ("system", "user"):
            answers = len(kept) + 1
        if message["role"] != "assistant" or message.get("tool_calls"):
            kept.append(message)
        elif answers < len(kept) and kept[answers]["role"] == "assistant" and not kept[answers].get("tool_calls"):
            both = f"{kept[answers]['content']}\n\n{message['content']}"
            kept[answers] = {**kept[answers], "content": both}
        else:
            kept.insert(answers, message)
    return kept


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
    if form.null_content and not message["content"]:
        changed["content"] = None
    return changed


def put_tools(tools: Sequence[Mapping[str, Any]], form: Form) -> Sequence[Mapping[str, Any]]:
    """The tools in that form."""
    return [_filled(tool) for tool in tools] if form.filled_schemas else tools


def _filled(value: Any) -> Any:
    if isinstance(value, list):
        return [_filled(part) for part in value]
    if not isinstance(value, dict):
        return value
    filled = {key: _filled(part) for key, part in value.items()}
    anything = {"type": None}
    if value.get("type") == "array":
        filled.setdefault("items", anything)
    if value.get("type") == "object":
        filled.setdefault("required", [])
        if not isinstance(value.get("additionalProperties"), dict):
            filled["additionalProperties"] = anything
    if isinstance(properties := filled.get("properties"), dict):
        for part in properties.values():
            if isinstance(part, dict):
                part.setdefault("description", "")
    return filled


def _arguments(arguments: Any, form: Form) -> Any:
    if form.text_arguments and not isinstance(arguments, str):
        return json.dumps(arguments, ensure_ascii=False)
    return arguments


def _id(given: str, form: Form) -> str:
    if not form.short_ids or SHORT_ID.match(given):
        return given
    return hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()[:9]
