"""A conversation as a file: JSON with everything in it, Markdown to read and edit. Pure.

In Markdown a turn is a section `## User` and one `## Assistant`. A line of a text that looks like such a heading gets a
backslash before it, so that an export can be imported unchanged.
"""

from __future__ import annotations

import json
import re
from typing import Any

from threadrunner.cli.flags import UsageError

FORMAT = 1
_HEADINGS = ("## User", "## Assistant")
_ESCAPED = re.compile(r"\\*## (User|Assistant)\s*$")
_KEPT = ("name", "model", "backend", "mode", "system", "params")
_TURN = ("prompt", "answer", "model", "began", "ended")


def to_json(session: dict[str, Any], turns: list[dict[str, Any]]) -> str:
    return json.dumps({"threadrunner": FORMAT, "session": session, "turns": turns}, ensure_ascii=False, indent=1) + "\n"


def to_markdown(session: dict[str, Any], turns: list[dict[str, Any]]) -> str:
    head = [f"threadrunner: {FORMAT}"]
    head += [f"{name}: {json.dumps(session[name], ensure_ascii=False)}" for name in _KEPT if session.get(name)]
    parts = ["---\n" + "\n".join(head) + "\n---\n"]
    for turn in turns:
        parts.append(f"## User\n\n{_escaped(turn['prompt'])}\n")
        if turn.get("answer") is not None:
            parts.append(f"## Assistant\n\n{_escaped(turn['answer'])}\n")
    return "\n".join(parts)


def read(text: str, name: str) -> dict[str, Any]:
    """Params of `sessions.import`. The conversation is called `name` where the file has no name. Raises UsageError."""
    found = _from_json(text, name) if text.lstrip().startswith(("{", "[")) else _from_markdown(text, name)
    if not found["turns"]:
        raise UsageError("there is no turn in it; Markdown has them under `## User` and `## Assistant`")
    return found


def _from_json(text: str, name: str) -> dict[str, Any]:
    """Our own export, or a list of messages as chat APIs have them, bare or under `messages`."""
    try:
        value = json.loads(text)
        if isinstance(value, dict) and "threadrunner" in value:
            _check_format(value["threadrunner"])
            session = value["session"]
            turns = [{key: turn[key] for key in _TURN if turn.get(key) is not None} for turn in value["turns"]]
            if not all(isinstance(turn.get(key, ""), str) for turn in turns for key in ("prompt", "answer")):
                raise TypeError("a turn's prompt and answer must be text")
            if not all("prompt" in turn for turn in turns):
                raise ValueError("a turn has no prompt")
            kept = {key: session[key] for key in _KEPT if session.get(key) is not None}
            return {"name": name, **kept, "turns": turns}
        messages = value["messages"] if isinstance(value, dict) else value
        return {"name": name, **from_messages(messages)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"this JSON is not a conversation ({error!r}); expected what `threadrunner sessions export --json` writes, "
            'or a list of {"role": …, "content": …}'
        ) from None


def from_messages(messages: list[dict[str, str]]) -> dict[str, Any]:
    """System prompt and turns of a list of messages. Several of one role in a row are one."""
    system: list[str] = []
    turns: list[dict[str, str]] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if not isinstance(content, str):
            raise TypeError("a message's content must be text")
        if role == "system":
            system.append(content)
        elif role == "user":
            if turns and "answer" not in turns[-1]:
                turns[-1]["prompt"] += f"\n\n{content}"
            else:
                turns.append({"prompt": content})
        elif role == "assistant" and turns:
            turns[-1]["answer"] = "\n\n".join(filter(None, [turns[-1].get("answer"), content]))
        else:
            raise ValueError(f"a message of role {role!r} is not expected here")
    return {"turns": turns, **({"system": "\n\n".join(system)} if system else {})}


def _from_markdown(text: str, name: str) -> dict[str, Any]:
    lines = text.split("\n")
    if lines[0].endswith("\r"):  # written by an editor on Windows, throughout; our own export begins with a bare ---
        lines = [line.removesuffix("\r") for line in lines]
    found: dict[str, Any] = {"name": name}
    start = 0
    if lines[0] == "---" and "---" in lines[1:]:
        start = lines.index("---", 1) + 1
        found |= _head(lines[1 : start - 1])
    turns: list[dict[str, str]] = []
    headings = [index for index in range(start, len(lines)) if lines[index].rstrip() in _HEADINGS]
    for index, end in zip(headings, [*headings, len(lines)][1:], strict=True):
        content = _unescaped(lines[index + 1 : end])
        if lines[index].rstrip() == "## User":
            turns.append({"prompt": content})
        elif turns and "answer" not in turns[-1]:
            turns[-1]["answer"] = content
        else:
            raise UsageError(f"line {index + 1}: `## Assistant` must follow a `## User`")
    return {**found, "turns": turns}


def _head(lines: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in lines:
        key, _, value = line.partition(": ")
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            raise UsageError(f"{key}: its value must be JSON, not {value[:40]!r}") from None
        if key == "threadrunner":
            _check_format(parsed)
        elif key in _KEPT:
            found[key] = parsed
        else:
            raise UsageError(f"{key!r} means nothing here; there may be {', '.join(_KEPT)}")
    return found


def _check_format(number: object) -> None:
    if number != FORMAT:
        raise UsageError(f"the file's format is {number}, ours is {FORMAT}; update threadrunner")


def _escaped(text: str) -> str:
    return "\n".join("\\" + line if _ESCAPED.match(line) else line for line in text.split("\n"))


def _unescaped(lines: list[str]) -> str:
    """A section's text: without the blank line after its heading, and the one before the next."""
    if lines and not lines[0].strip():
        lines = lines[1:]
    if lines and not lines[-1].strip():
        lines = lines[:-1]
    return "\n".join(line[1:] if line.startswith("\\") and _ESCAPED.match(line) else line for line in lines)
