"""A conversation as a file: JSON with everything in it, Markdown to read and edit. Pure.

In Markdown a turn is a section `## User` and one `## Assistant`. What a model has beside text has sections too: before
the answer `## Thinking`, after it `## Call ID NAME` with the arguments, and the next turn begins with `## Result ID`. A
line of a text that looks like a heading gets a backslash before it, so that an export can be imported unchanged.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, unquote

from threadrunner.cli.flags import UsageError

FORMATS = (1, 2)
"""2 where a turn has calls, results or thinking, or the conversation has tools; else 1, which older versions read."""
_HEADINGS = {
    1: re.compile(r"## (?P<kind>User|Assistant)\s*"),
    2: re.compile(r"## (?P<kind>User|Assistant|Thinking|Call|Result)(?: (?P<id>\S+)(?: (?P<name>\S+))?)?\s*"),
}
_KEPT = ("name", "model", "backend", "mode", "system", "params", "tools")
_PARTS = ("tool_calls", "tool_results", "reasoning")
_TURN = ("prompt", "answer", "model", "began", "ended", *_PARTS)


def to_json(session: dict[str, Any], turns: list[dict[str, Any]]) -> str:
    found = {"threadrunner": _format(session, turns), "session": session, "turns": turns}
    return json.dumps(found, ensure_ascii=False, indent=1) + "\n"


def _format(session: dict[str, Any], turns: list[dict[str, Any]]) -> int:
    return 2 if session.get("tools") or any(turn.get(part) for turn in turns for part in _PARTS) else 1


def to_markdown(session: dict[str, Any], turns: list[dict[str, Any]]) -> str:
    number = _format(session, turns)
    head = [f"threadrunner: {number}"]
    head += [f"{name}: {json.dumps(session[name], ensure_ascii=False)}" for name in _KEPT if session.get(name)]
    parts = ["---\n" + "\n".join(head) + "\n---\n"]
    for turn in turns:
        parts += [f"## {heading}\n\n{_escaped(text, number)}\n" for heading, text in sections(turn)]
    return "\n".join(parts)


def sections(turn: dict[str, Any]) -> list[tuple[str, str]]:
    """The parts of a turn in their order, each with its heading."""
    found = [
        (f"Result {_quoted(result['tool_call_id'])}", result["content"]) for result in turn.get("tool_results") or ()
    ]
    if turn["prompt"] or not found:
        found.append(("User", turn["prompt"]))
    if turn.get("reasoning"):
        found.append(("Thinking", turn["reasoning"]))
    calls = turn.get("tool_calls") or ()
    if turn.get("answer") or (turn.get("answer") is not None and not calls):
        found.append(("Assistant", turn["answer"]))
    return [
        *found,
        *((f"Call {_quoted(call['id'])} {call['function']['name']}", call["function"]["arguments"]) for call in calls),
    ]


def _quoted(id: str) -> str:
    """An id as one word: other programs' may have blanks in them."""
    return quote(id, safe="!#$&'()*+,-./:;<=>?@[]^_`{|}~")


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
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UsageError(
            f"this JSON is not a conversation ({why}); expected what `threadrunner sessions export --json` writes, "
            'or a list of {"role": …, "content": …}'
        ) from None


def from_messages(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """System prompt and turns of a list of messages. Several of one role in a row are one."""
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        content = message["content"] if message.get("content") is not None or "tool_calls" not in message else ""
        if not isinstance(content, str):
            raise TypeError("a message's content must be text")
        if role in ("system", "developer"):
            system.append(content)
        elif role == "user":
            _add_prompt(turns, content)
        elif role == "tool" and turns:
            _open_turn(turns).setdefault("tool_results", []).append(
                {"tool_call_id": message["tool_call_id"], "content": content}
            )
        elif role == "assistant" and turns:
            _add_answer(turns[-1], message, content)
        else:
            raise ValueError(f"a message of role {role!r} is not expected here")
    return {"turns": turns, **({"system": "\n\n".join(system)} if system else {})}


def _open_turn(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The last turn, or a new one where that has its answer."""
    if not turns or any(part in turns[-1] for part in ("answer", "tool_calls", "reasoning")):
        turns.append({"prompt": ""})
    return turns[-1]


def _add_prompt(turns: list[dict[str, Any]], text: str) -> None:
    turn = _open_turn(turns)
    turn["prompt"] = "\n\n".join(filter(None, [turn["prompt"], text]))


def _add_answer(turn: dict[str, Any], message: dict[str, Any], content: str) -> None:
    turn["answer"] = "\n\n".join(filter(None, [turn.get("answer"), content]))
    for name in ("reasoning", "reasoning_content"):
        if isinstance(message.get(name), str):
            turn["reasoning"] = message[name]
    for call in message.get("tool_calls") or ():
        function = {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        turn.setdefault("tool_calls", []).append({"id": call["id"], "type": "function", "function": function})


def _from_markdown(text: str, name: str) -> dict[str, Any]:
    lines = text.split("\n")
    if lines[0].endswith("\r"):  # written by an editor on Windows, throughout; our own export begins with a bare ---
        lines = [line.removesuffix("\r") for line in lines]
    found: dict[str, Any] = {"name": name}
    start, number = 0, 1
    if lines[0] == "---" and "---" in lines[1:]:
        start = lines.index("---", 1) + 1
        head = _head(lines[1 : start - 1])
        number = head.pop("threadrunner", 1)
        found |= head
    turns: list[dict[str, Any]] = []
    headings = [index for index in range(start, len(lines)) if _HEADINGS[number].fullmatch(lines[index])]
    for index, end in zip(headings, [*headings, len(lines)][1:], strict=True):
        match = _HEADINGS[number].fullmatch(lines[index])
        assert match
        problem = _add_section(turns, match.groupdict(), _unescaped(lines[index + 1 : end], number))
        if problem:
            raise UsageError(f"line {index + 1}: {problem}")
    return {**found, "turns": turns}


def _add_section(turns: list[dict[str, Any]], heading: dict[str, str | None], text: str) -> str | None:
    """Put a section where it belongs; what is wrong with it, None where nothing is."""
    kind, id, name = heading["kind"], heading.get("id"), heading.get("name")
    if kind == "User":
        if turns and turns[-1].keys() == {"prompt", "tool_results"} and not turns[-1]["prompt"]:
            turns[-1]["prompt"] = text
        else:
            turns.append({"prompt": text})
    elif kind == "Result" and id:
        if not turns or turns[-1].keys() != {"prompt", "tool_results"} or turns[-1]["prompt"]:
            turns.append({"prompt": "", "tool_results": []})
        turns[-1]["tool_results"].append({"tool_call_id": unquote(id), "content": text})
    elif not turns:
        return f"`## {kind}` must follow a `## User`"
    elif kind == "Call" and id and name:
        call = {"id": unquote(id), "type": "function", "function": {"name": name, "arguments": text}}
        turns[-1].setdefault("tool_calls", []).append(call)
    elif kind in ("Assistant", "Thinking") and (part := _PART[kind]) not in turns[-1]:
        turns[-1][part] = text
    else:
        return f"`## {kind}` must follow a `## User`" if kind in _PART else f"`## {kind}` lacks the call's id or name"
    return None


_PART = {"Assistant": "answer", "Thinking": "reasoning"}


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
        elif key not in _KEPT:
            raise UsageError(f"{key!r} means nothing here; there may be {', '.join(_KEPT)}")
        found[key] = parsed
    return found


def _check_format(number: object) -> None:
    if number not in FORMATS:
        raise UsageError(f"the file's format is {number}, ours is {FORMATS[-1]}; update threadrunner")


def _looks_like_a_heading(line: str, number: int) -> bool:
    return _HEADINGS[number].fullmatch(line.lstrip("\\")) is not None


def _escaped(text: str, number: int) -> str:
    return "\n".join("\\" + line if _looks_like_a_heading(line, number) else line for line in text.split("\n"))


def _unescaped(lines: list[str], number: int) -> str:
    """A section's text: without the blank line after its heading, and the one before the next."""
    if lines and not lines[0].strip():
        lines = lines[1:]
    if lines and not lines[-1].strip():
        lines = lines[:-1]
    return "\n".join(
        line[1:] if line.startswith("\\") and _looks_like_a_heading(line, number) else line for line in lines
    )
