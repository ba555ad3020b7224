"""Conversations as Anthropic's clients write them, as the daemon takes them.

A message's content is a list of blocks; results of tools are blocks of the user's next message. Blocks that a service
has added for its own tools, and those that are not known, are passed over: the rest of the message is still meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from threadrunner.http import images
from threadrunner.http.failures import HttpFailure, invalid
from threadrunner.http.reading import Fields

_ROLES = ("user", "assistant", "system", "developer")

_ACCOUNTING = re.compile(r"^x-anthropic-billing-header:.*\n*", re.MULTILINE)
"""A line that Claude Code puts before its system prompt, for the service's accounts. Its `cch=` changes each time, so
that nothing behind it would ever be found in the cache."""

_NO_IMAGE = "[an image, which this model cannot see]"


def results_show(body: Fields) -> bool:
    """Whether there is a picture among the results of tools."""
    blocks = (
        block
        for item in body.objects("messages")
        if isinstance(item.get("content"), list)
        for block in item.objects("content")
        if block.text("type") == "tool_result" and isinstance(block.get("content"), list)
    )
    return any(part.text("type") == "image" for block in blocks for part in block.objects("content"))


def read_messages(body: Fields, *, seen: bool = False) -> list[dict[str, Any]]:
    """`messages` of the daemon's `generate`, the system prompt first; `seen`: the model takes pictures of tools. Raises
    HttpFailure."""
    system = _system(body)
    said = [message for item in body.objects("messages") for message in _messages(item, seen)]
    if not said:
        raise invalid("`messages` is empty", "messages")
    return _with_reminders([{"role": "system", "content": system}, *said] if system else said)


def _with_reminders(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """System messages behind the conversation's beginning as a part of the user's, in front of what was said there.

    Claude Code sends one behind most questions. Few templates take it there: others have all system messages in one at
    the top, so that the whole conversation would be evaluated again, and a small model answers what it reads last. The
    tag is the one that it uses for the same purpose.
    """
    made: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] != "system" or all(before["role"] == "system" for before in made):
            made.append(message)
            continue
        said = f"<system-reminder>\n{message['content']}\n</system-reminder>"
        if made[-1]["role"] == "user":
            shown = images.together([said, *images.parts_of(made[-1]["content"])], "\n\n")
            made[-1] = {"role": "user", "content": shown}
        else:
            made.append({"role": "user", "content": said})
    return made


def _system(item: Fields, name: str = "system") -> str:
    given = item.get(name)
    texts = [given] if isinstance(given, str) else [_text(block) for block in item.objects(name)]
    return "\n\n".join(text for text in (_ACCOUNTING.sub("", text or "") for text in texts) if text.strip())


def _messages(item: Fields, seen: bool) -> Iterator[dict[str, Any]]:
    role = item.need_text("role")
    if role not in _ROLES:
        known = ", ".join(_ROLES)
        raise invalid(f"`{item.place('role')}` must be one of {known}, not {role[:40]!r}", item.place("role"))
    if role in ("system", "developer"):
        yield {"role": "system", "content": _system(item, "content")}
        return
    content = item.get("content")
    if content is None or isinstance(content, str):
        yield {"role": role, "content": content or ""}
        return
    blocks = item.objects("content")
    yield from _answer(blocks) if role == "assistant" else _turn(blocks, seen)


def _answer(blocks: list[Fields]) -> Iterator[dict[str, Any]]:
    """An assistant's message: what it thought, said, and called."""
    thoughts = [block.text("thinking") or "" for block in blocks if block.text("type") == "thinking"]
    texts = [text for block in blocks if (text := _text(block)) is not None]
    calls = [_call(block) for block in blocks if block.text("type") == "tool_use"]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if calls:
        message["tool_calls"] = calls
    if any(thoughts):
        message["reasoning"] = "\n\n".join(thoughts)
    if calls or texts or any(thoughts):
        yield message


def _call(block: Fields) -> dict[str, Any]:
    given = block.object("input")
    arguments = given.plain() if given else {}
    return {"id": block.need_text("id"), "function": {"name": block.need_text("name"), "arguments": arguments}}


def _turn(blocks: list[Fields], seen: bool) -> Iterator[dict[str, Any]]:
    """A user's message: the results in it, which come first for every model, then what is said."""
    said: list[str | images.Part | None] = []
    late: list[dict[str, Any]] = []
    for block in blocks:
        match block.text("type"):
            case "tool_result":
                yield {"role": "tool", "tool_call_id": block.need_text("tool_use_id"), "content": _result(block, seen)}
            case "mid_conv_system":
                late.append({"role": "system", "content": _system(block, "content")})
            case "image":
                said.append(images.of_anthropic(block))
            case "document":
                said.append(_document(block))
            case _:
                said.append(_text(block))
    if parts := [part for part in said if part]:
        yield {"role": "user", "content": images.together(parts, "\n\n")}
    yield from late


def _text(block: Fields) -> str | None:
    """None for a block that is no text."""
    kind = block.text("type") or "text"
    if kind == "text":
        return block.text("text") or ""
    if kind == "search_result":
        texts = [_text(part) or "" for part in block.objects("content")]
        return "\n".join([block.text("title") or "", block.text("source") or "", *texts]).strip()
    return None


def _result(block: Fields, seen: bool) -> images.Content:
    """A picture in a result becomes a note for a model that takes none: a refusal would be the end of the whole
    conversation, for its client sends the result each time."""
    content = block.get("content")
    if content is None or isinstance(content, str):
        shown: images.Content = content or ""
    else:
        parts = [part for item in block.objects("content") if (part := _result_part(item, seen))]
        shown = images.together(parts, "\n")
    if block.flag("is_error") and "error" not in images.split(shown)[0][:60].lower():
        return images.together(["Error: ", *images.parts_of(shown)])
    return shown


def _result_part(part: Fields, seen: bool) -> str | images.Part | None:
    kind = part.text("type")
    if kind == "image":
        return images.of_anthropic(part) if seen else _NO_IMAGE
    if kind == "document":
        try:
            return _document(part)
        except HttpFailure as failure:
            return f"[{failure.message}]"
    return _text(part)


def _document(block: Fields) -> str:
    source = block.object("source")
    kind = source.text("type") if source else None
    title = block.text("title")
    if source is not None and kind == "text":
        text = source.text("data") or ""
    elif source is not None and kind == "content":
        given = source.get("content")
        text = given if isinstance(given, str) else "\n".join(_text(part) or "" for part in source.objects("content"))
    else:
        raise _unseen(block)
    return f"{title}\n\n{text}" if title else text


def _unseen(block: Fields) -> HttpFailure:
    kind = block.text("type")
    return HttpFailure(
        400, "invalid_request_error", f"`{block.place('type')}`: text and pictures are taken, no {kind} of this kind",
        "not_supported", block.place("type"),
    )  # fmt: skip


def read_tools(body: Fields) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls` of `generate`; the service's own tools (those with a type) are
    not told to the model. Raises HttpFailure."""
    tools = [tool for item in body.objects("tools") if (tool := _tool(item)) is not None]
    if not tools:
        return {}
    choice = body.object("tool_choice") or Fields({})
    params: dict[str, Any] = {"tools": tools, "tool_choice": _choice(choice)}
    if choice.flag("disable_parallel_tool_use"):
        params["parallel_tool_calls"] = False
    return params


def _tool(item: Fields) -> dict[str, Any] | None:
    if (item.text("type") or "custom") != "custom":
        return None
    tool: dict[str, Any] = {"name": item.need_text("name"), "description": item.text("description") or ""}
    if (schema := item.get("input_schema")) is not None:
        tool["parameters"] = schema
    return {"function": tool}


def _choice(choice: Fields) -> Any:
    kind = choice.text("type") or "auto"
    if kind == "tool":
        return {"function": {"name": choice.need_text("name")}}
    if kind not in ("auto", "any", "none"):
        raise invalid(f"`{choice.place('type')}` must be auto, any, tool or none", choice.place("type"))
    return "required" if kind == "any" else kind
