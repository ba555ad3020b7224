"""The items of a Responses request as the daemon's messages.

A turn of the model's is several items there (a thought, a text, calls) and one message here.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from threadrunner.http.conversation import read_content, read_text
from threadrunner.http.failures import HttpFailure, invalid
from threadrunner.http.reading import Fields

_SEALED = "threadrunner:"
"""Begins what we give as `encrypted_content`: the thought itself. Codex sends that back, and not the plain text."""


def read_input(body: Fields) -> list[dict[str, Any]]:
    """`instructions` and `input` as messages. Raises HttpFailure."""
    given = body.get("input")
    reader = _Reader()
    if isinstance(given, str):
        reader.messages.append({"role": "user", "content": given})
    else:
        for item in body.objects("input"):
            reader.read(item)
    messages = reader.messages
    if [message["role"] for message in messages[-2:]] == ["assistant"] * 2:
        raise invalid("two answers at the end: one can be continued; join them", "input")
    messages = _with_instructions(body.text("instructions"), messages)
    if messages[-1:] == [] or messages[-1]["role"] == "system":
        messages.append({"role": "user", "content": ""})  # Codex looks whether a server is there by an empty input
    return messages


def _with_instructions(instructions: str | None, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the systems at the beginning as one, since many templates take one at most; a later one stays where it is,
    and the engine finds a place for it that the template allows."""
    first = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    texts = [text for text in (instructions, *(message["content"] for message in messages[:first])) if text]
    system = [{"role": "system", "content": "\n\n".join(texts)}] if texts else []
    return [*system, *messages[first:]]


class _Reader:
    """`messages` grows as items are read."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._thought = ""

    def read(self, item: Fields) -> None:
        kind = item.text("type") or "message"
        if kind == "message":
            self._message(item)
        elif kind == "reasoning":
            self._thought += _thought(item)
        elif kind == "item_reference":
            raise invalid(f"`{item.place('id')}`: nothing is kept here; send the item itself", item.place("id"))
        elif kind.endswith("_call_output"):
            self._result(item)
        elif kind.endswith("_call") and "call_id" in item:
            self._call(item, kind)
        # else: of a service's own tools, which have no result here

    def _message(self, item: Fields) -> None:
        role = item.need_text("role")
        if role not in ("system", "developer", "user", "assistant"):
            place = item.place("role")
            raise invalid(f"`{place}` must be system, developer, user or assistant, not {role[:40]!r}", place)
        if role == "user":
            self.messages.append({"role": role, "content": read_content(item, "content") or ""})
            return
        content = read_text(item, "content") or ""
        if role != "assistant":
            self.messages.append({"role": "system", "content": content})
        elif self._thought or not self._goes_on() or self.messages[-1].get("tool_calls"):
            self._answer()["content"] = content
        else:
            self.messages[-1]["content"] = "\n\n".join(filter(None, (self.messages[-1]["content"], content)))

    def _call(self, item: Fields, kind: str) -> None:
        if kind == "function_call":
            name, arguments = item.need_text("name"), item.get("arguments") or "{}"
        else:  # of a tool that another model had: a shell, or one that takes a plain text
            name = item.text("name") or kind.removesuffix("_call")
            told = {key: item.get(key) for key in ("input", "action") if key in item}
            arguments = msgspec.json.encode(told).decode()
        message = self.messages[-1] if self._goes_on() and not self._thought else self._answer()
        call = {"id": item.need_text("call_id"), "function": {"name": name, "arguments": arguments}}
        message.setdefault("tool_calls", []).append(call)

    def _result(self, item: Fields) -> None:
        content = item.get("output")
        if isinstance(content, dict):
            content = msgspec.json.encode(content).decode()
        elif not isinstance(content, str):
            content = read_content(item, "output") or ""
        self.messages.append({"role": "tool", "content": content, "tool_call_id": item.need_text("call_id")})

    def _goes_on(self) -> bool:
        return bool(self.messages) and self.messages[-1]["role"] == "assistant"

    def _answer(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        if self._thought:
            message["reasoning"] = self._thought
            self._thought = ""
        self.messages.append(message)
        return message


def _thought(item: Fields) -> str:
    content = [part.text("text") or "" for part in (item.objects("content") or item.objects("summary"))]
    return "".join(content) or _unsealed(item.text("encrypted_content") or "")


def sealed(thought: str) -> str:
    return _SEALED + base64.b64encode(thought.encode("utf-8", "replace")).decode()


def _unsealed(text: str) -> str:
    """Empty for what another server has sealed."""
    if not text.startswith(_SEALED):
        return ""
    try:
        return base64.b64decode(text.removeprefix(_SEALED), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def refuse_stored(body: Fields) -> None:
    """Raises HttpFailure for what would need an earlier answer that was kept."""
    if "previous_response_id" in body:
        text = (
            "`previous_response_id`: no answers are kept here; send the whole conversation as `input`, or name one "
            "that the daemon keeps: `threadrunner: {session: NAME}`"
        )
        # Copilot sends everything again where it reads this code.
        raise HttpFailure(400, "invalid_request_error", text, "previous_response_not_found", "previous_response_id")
    for name in ("conversation", "prompt"):
        if name in body:
            raise invalid(f"`{name}`: nothing is kept here; send the whole conversation as `input`", name)
    if body.flag("background"):
        raise invalid("`background`: an answer ends with its connection here; leave it out", "background")
