"""The eight situations that each shipped template is rendered in, and what makes a prompt right.

Every text is a word that no template has, so that it can be counted: each word of each message once and in order, a
tool's name and description as they are, arguments as JSON encoded once, nothing as Python writes it, the beginning of
an answer at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from threadrunner.engine.errors import BadTemplate
from threadrunner.engine.prompts.chat import ChatPrompt, Rendered

SITUATIONS = (
    "plain",
    "tools",
    "objects",
    "texts",
    "two_systems",
    "late_system",
    "developer",
    "thinking",
)
DESCRIPTION = "Zdescription <b> & it's “é” > all"
ARGUMENTS = {"zplace": "Zparis", "zmore": {"zdeep": ["Zinner", True, None, 1.5]}, "zempty": ""}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def call(id: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "zweather",
            "description": DESCRIPTION,
            "parameters": {
                "type": "object",
                "properties": {
                    "zplace": {"type": "string", "description": "Zwhere"},
                    "zunit": {"type": "string", "enum": ["Zcelsius", "Zkelvin"]},
                    "zmore": {
                        "type": "object",
                        "properties": {"zdeep": {"type": "array", "items": {"type": "string"}}},
                    },
                },
                "required": ["zplace"],
            },
        },
    },
    {
        "type": "function",
        "function": {"name": "zclock", "description": "Ztime", "parameters": {"type": "object", "properties": {}}},
    },
]


def round_trip(arguments: Any) -> list[dict[str, Any]]:
    return [
        user("Zask"),
        assistant("", tool_calls=[call("call_1", "zweather", arguments)]),
        {"role": "tool", "tool_call_id": "call_1", "content": '{"Zresult": "<b> & it\'s"}'},
        assistant("Zanswer"),
        user("Zagain"),
    ]


PLAIN = [system("Zsystem"), user("Zask"), assistant("Zanswer"), user("Zagain")]
TWO = [system("Zsystem"), system("Zother"), user("Zask")]
LATE = [system("Zsystem"), user("Zask"), assistant("Zanswer"), system("Zother"), user("Zagain")]
DEVELOPER = [{"role": "developer", "content": "Zsystem"}, user("Zask")]
THINKING = [user("Zask"), assistant("Zanswer", reasoning="Zthought"), user("Zagain")]


def wrong(prompt: ChatPrompt, situation: str) -> str:
    """What is wrong with a template's prompt in that situation; "" where it is right."""
    try:
        return _CHECKS[situation](prompt)
    except BadTemplate as error:
        return f"{type(error).__name__}: {str(error)[:200]}"


def _plain(prompt: ChatPrompt) -> str:
    rendered = prompt.chat(PLAIN)
    return in_order(rendered, "Zsystem", "Zask", "Zanswer", "Zagain") or opens(rendered, "Zagain")


def _tools(prompt: ChatPrompt) -> str:
    rendered = prompt.chat([user("Zask")], TOOLS)
    text = rendered.text
    as_json = [json.dumps(DESCRIPTION, ensure_ascii=only)[1:-1] for only in (False, True)]
    if not any(way in text for way in (DESCRIPTION, *as_json)):
        return "the description is mangled"
    # not enum's values: Seed-OSS and Command R+ do not show them
    for word in ("zweather", "zclock", "Ztime", "zplace", "zunit", "Zwhere", "zmore"):
        if word not in text:
            return f"no {word}"
    return as_python(text) or in_order(rendered, "Zask") or opens(rendered, "Zask")


def _objects(prompt: ChatPrompt) -> str:
    rendered = prompt.chat(round_trip(ARGUMENTS), TOOLS)
    text = rendered.text.replace("\\u201c", "“")
    told = text[text.index("Zask") :] if "zdeep" in text[text.index("Zask") :] else text
    for word in ("zplace", "zmore", "zdeep", "Zinner", "zempty"):
        if word not in told:
            return f"no {word}"
    return (
        encoded_once(text)
        or as_python(text)
        or in_order(rendered, "Zask", "Zparis", "Zresult", "Zanswer", "Zagain")
        or in_order(rendered, "Zask", "Zinner", "Zresult")
        or opens(rendered, "Zagain")
    )


def _texts(prompt: ChatPrompt) -> str:
    rendered = prompt.chat(round_trip(json.dumps(ARGUMENTS, ensure_ascii=False)), TOOLS)
    same = prompt.chat(round_trip(ARGUMENTS), TOOLS)
    return _objects(prompt) or ("" if rendered == same else "text and object differ")


def _two_systems(prompt: ChatPrompt) -> str:
    rendered = prompt.chat(TWO)
    return in_order(rendered, "Zsystem", "Zother", "Zask") or opens(rendered, "Zask")


def _late_system(prompt: ChatPrompt) -> str:
    rendered = prompt.chat(LATE)
    words = ("Zsystem", "Zask", "Zanswer", "Zother", "Zagain")
    return in_order(rendered, *words) or opens(rendered, "Zagain")


def _developer(prompt: ChatPrompt) -> str:
    rendered = prompt.chat(DEVELOPER)
    if rendered != prompt.chat([system("Zsystem"), user("Zask")]):
        return "developer is not system"
    return in_order(rendered, "Zsystem", "Zask") or opens(rendered, "Zask")


def _thinking(prompt: ChatPrompt) -> str:
    rendered = prompt.chat(THINKING)
    words = ["Zask", "Zthought", "Zanswer", "Zagain"] if "Zthought" in rendered.text else ["Zask", "Zanswer", "Zagain"]
    if problem := in_order(rendered, *words) or opens(rendered, "Zagain"):
        return problem
    if "enable_thinking" not in prompt.variables:
        return ""
    told = {prompt.chat(THINKING, variables={"enable_thinking": value}).text for value in (True, False)}
    return "" if len(told) == 2 else "enable_thinking makes no difference"


_CHECKS: dict[str, Callable[[ChatPrompt], str]] = {
    "plain": _plain,
    "tools": _tools,
    "objects": _objects,
    "texts": _texts,
    "two_systems": _two_systems,
    "late_system": _late_system,
    "developer": _developer,
    "thinking": _thinking,
}


def in_order(rendered: Rendered, *words: str) -> str:
    text = rendered.text
    counts = {word: text.count(word) for word in words}
    if any(count != 1 for count in counts.values()):
        return f"not once: {counts}"
    places = [text.index(word) for word in words if word not in ("Zsystem", "Zother")]
    if places != sorted(places):
        return f"not in order: {words}"
    # Mistral's templates put the system's text before the last user's
    late = [word for word in words if word in ("Zsystem", "Zother") and text.index(word) > places[-1]]
    return f"after the last: {late}" if late else ""


def opens(rendered: Rendered, last: str) -> str:
    """Whether the prompt ends with the beginning of an answer, behind the last message."""
    rest = rendered.text[rendered.text.rindex(last) + len(last) :]
    if not rest.strip():
        return "no beginning of an answer"
    return "" if rest.endswith(rendered.opening) else f"opening {rendered.opening!r} is not the end of {rest!r}"


def as_python(text: str) -> str:
    for sign in ("'zplace'", "'zdeep'", "['Zinner'", "Zinner', True", "<generator", "&#39;", "\\u003c", "&lt;"):
        if sign in text:
            return f"{sign} in it"
    return ""


def encoded_once(text: str) -> str:
    for key in ("zplace", "zdeep", "zempty"):
        if f'\\"{key}' in text:
            return "JSON in JSON"
    return ""


PLACES = (
    "content", "result", "name", "description", "key", "value", "enum", "argument", "argument_key", "reasoning", "id",
)  # fmt: skip
"""Where a conversation with tools has texts from outside."""


def with_texts_at(texts: dict[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A conversation and its tools, with these texts at these places, and plain ones at the others."""
    at = {place: texts.get(place, f"the {place}") for place in PLACES}
    schema = {
        "type": "object",
        "properties": {at["key"]: {"type": "string", "title": at["value"], "enum": [at["enum"]]}},
        "required": [at["key"]],
    }
    function = {"name": at["name"], "description": at["description"], "parameters": schema}
    messages = [
        user(at["content"]),
        assistant("", tool_calls=[call(at["id"], at["name"], {at["argument_key"]: [at["argument"]]})]),
        {"role": "tool", "content": at["result"], "tool_call_id": at["id"]},
        assistant("So", reasoning=at["reasoning"]),
        user("Hi"),
    ]
    return messages, [{"type": "function", "function": function}]
