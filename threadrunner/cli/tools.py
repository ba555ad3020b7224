"""Tools, calls and their results, and params by name: what of the command line only some prompts need.

Nothing here calls a tool: a call is shown, and whoever has called it gives its result.
"""

from __future__ import annotations

from threadrunner.cli import render, request, stdin
from threadrunner.cli.flags import FLAGS, SETTABLE, UsageError, named, number
from threadrunner.wire import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_DEFINITION = ("name", "description", "parameters", "strict")
_SCHEMAS = ("inputSchema", "input_schema")
"""What other lists of tools call the parameters: those of MCP servers, and of Anthropic's API."""
_UNUSED = ("title", "annotations", "outputSchema", "icons", "execution", "_meta")
"""What an MCP server says of a tool beside what a model is told."""


def read(text: str, path: str) -> list[dict[str, Any]]:
    """The tools of a file, as the API has them: a list of function definitions, bare or as OpenAI's API has them, or an
    object with such a list as `tools`. Raises UsageError with the place."""
    try:
        value = messages.decode(text.encode())
    except messages.DecodeError as error:
        raise UsageError(f"{path}: {error}; expected a list of functions: {_EXAMPLE}") from None
    tools = value["tools"] if isinstance(value, dict) and "tools" in value else value
    if not isinstance(tools, list):
        raise UsageError(f"{path}: expected a list of functions: {_EXAMPLE}")
    return [_tool(tool, f"{path}: tools[{number}]") for number, tool in enumerate(tools)]


_EXAMPLE = '[{"name": …, "description": …, "parameters": {…}}]'


def _tool(tool: Any, place: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise UsageError(f"{place} is not an object; expected {_EXAMPLE[1:-1]}")
    if tool.get("type", "function") != "function":
        raise UsageError(f"{place} is of type {tool['type']!r}; only functions can be called")
    if "function" in tool:
        tool, place = tool["function"], f"{place}.function"
        if not isinstance(tool, dict):
            raise UsageError(f"{place} is not an object; expected {_EXAMPLE[1:-1]}")
    members = {name: value for name, value in tool.items() if name not in (*_UNUSED, "type")}
    for name in _SCHEMAS:
        if name in members:
            members["parameters"] = members.pop(name)
    if not isinstance(members.get("name"), str):
        raise UsageError(f"{place} has no `name`; expected {_EXAMPLE[1:-1]}")
    if unknown := [name for name in members if name not in _DEFINITION]:
        raise UsageError(f"{place} has a member {unknown[0]!r}; there may be {', '.join(_DEFINITION)}")
    return {"type": "function", "function": members}


def choice(text: str) -> str | dict[str, Any]:
    """The param `tool_choice`."""
    return text if text in ("auto", "none", "required") else {"type": "function", "function": {"name": text}}


def results(given: list[str], prompt: str) -> list[dict[str, Any]]:
    """`--result ID=TEXT`, or `--result ID` for what is piped in, as messages; then the user's, where there is one.
    Raises UsageError."""
    said: list[dict[str, Any]] = []
    piped: str | None = None
    for item in given:
        id, equals, text = item.partition("=")
        if not equals:
            if piped is not None:
                raise UsageError("two results cannot both be the piped text; give one of them as --result ID=TEXT")
            piped = text = stdin.read(expected=True).rstrip("\r\n")
        if not id:
            raise UsageError(f"--result {item}: there is no id before the =; the call has one")
        said.append({"role": "tool", "tool_call_id": request.words_text([id]), "content": request.words_text([text])})
    return [*said, {"role": "user", "content": prompt}] if prompt else said


def adapters(given: list[str]) -> dict[str, float]:
    """NAME[=SCALE] each, or `none` alone. Raises UsageError."""
    if given == ["none"]:
        return {}
    found: dict[str, float] = {}
    for item in given:
        name, equals, scale = item.rpartition("=") if "=" in item else (item, "", "1")
        try:
            found[name] = number(scale)
        except ValueError as error:
            raise UsageError(f"--lora {item}: {error}; give NAME or NAME=SCALE") from None
        if not name or (name == "none" and not equals):
            raise UsageError("--lora needs an adapter's name; `none` stands alone")
    return found


def settings(given: list[str]) -> dict[str, Any]:
    """`--set NAME=VALUE` as params: the value is JSON where it can be read so, else text; `dry.base=2` sets a member.
    The daemon checks types and ranges. Raises UsageError."""
    params: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        *path, last = name.split(".")
        root = path[0] if path else last
        if root not in SETTABLE:
            if (flag := named(root)) in {name for _, name, *_ in FLAGS}:
                raise UsageError(f"--set {root}: it has a flag of its own, {flag}")
            raise UsageError(f"--set: there is no {root!r}; there are {', '.join(SETTABLE)}")
        if not equals:
            raise UsageError(f"--set {item} has no value: --set {item}=VALUE")
        place = params
        for member in path:
            place = place.setdefault(member, {})
            if not isinstance(place, dict):
                raise UsageError(f"--set {item}: {member} has a value already")
        place[last] = _value(text)
    return params


def _value(text: str) -> Any:
    try:
        return messages.decode(text.encode())
    except (messages.DecodeError, UnicodeEncodeError):
        return text


def events(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The calls of an answer, as --json gives them: those that can be made, with their arguments as an object."""
    for call in result["tool_calls"]:
        arguments = _value(call["function"]["arguments"] or "{}")
        if isinstance(arguments, dict):
            made = {"id": call["id"], "name": call["function"]["name"], "arguments": arguments}
            yield {**made, "session": result.get("session")}


def show(result: dict[str, Any]) -> None:
    """For people: the calls of an answer, and how they are answered, on standard error."""
    whole = {made["id"]: made["name"] for made in events(result)}
    for call in result["tool_calls"]:
        render.say(f"the model calls {line(call)}{'' if call['id'] in whole else ' (broken off by the token limit)'}")
    if not whole:
        return
    if result.get("session"):
        import shlex  # only now: it is for a person to copy

        flags = " ".join(f"--result {shlex.quote(id)}=…" for id in whole)
        render.say(f"threadrunner -S {shlex.quote(result['session'])} {flags} gives the model what came of it")
    else:
        render.say("a prompt of no conversation cannot be answered; with -S NAME it can, see docs/cli.md")


def line(call: dict[str, Any]) -> str:
    """`weather {"city":"Porto"} (call_1)`, on one line."""
    function = call["function"]
    value = _value(function["arguments"] or "{}")
    text = messages.encode(value).decode() if isinstance(value, dict) else " ".join(function["arguments"].split())
    return f"{function['name']} {text} ({call['id']})"
