"""Answers as families of models write them, and what is in each."""

# ruff: noqa: RUF001 - DeepSeek's markers have wide bars

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from threadrunner.engine.tools.families import FAMILIES, GENERIC, THOUGHTS, splitter
from threadrunner.engine.tools.layout import AnswerPart, Layout
from threadrunner.engine.tools.sink import ToolSpec

SYNTAXES = {family.name: family.syntax for family in (*FAMILIES, GENERIC)}
CHANNELS, THINK = THOUGHTS[0], THOUGHTS[1]
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = ToolSpec("weather", PARAMETERS)
TIME = ToolSpec("time", {"type": "object", "properties": {}, "additionalProperties": False})
TOOLS = {tool.name: tool for tool in (WEATHER, TIME)}


@dataclass
class Heard:
    """A listener that keeps calls to a grammar, or does not."""

    keeps: bool = False
    begun: list[str] = field(default_factory=list)
    thoughts: int = 0

    def call_begins(self, text: str) -> bool:
        self.begun.append(text)
        return self.keeps

    def arguments_begin(self, name: str, text: str) -> bool:
        return False

    def arguments_end(self) -> None:
        """Nothing was begun."""

    def thought_ends(self) -> None:
        self.thoughts += 1


def layout(family: str, **changes: object) -> Layout:
    thought = CHANNELS if family == "gpt-oss" else THINK
    return Layout(**{"syntax": SYNTAXES[family], "tools": TOOLS, "thought": thought, **changes})  # type: ignore[arg-type]


def parts(
    which: Layout, pieces: Iterable[str], *, cut: bool = False, listener: Heard | None = None
) -> list[AnswerPart]:
    ids = itertools.count()
    made = splitter(which, listener or Heard(), lambda: f"id{next(ids)}")
    found = [part for piece in pieces for part in made.feed(piece)]
    return [*found, *made.finish(cut)]


Answer = tuple[str, str, tuple[tuple[str, str], ...]]
"""Text, reasoning, calls: each a name and its arguments."""


def joined(found: Iterable[AnswerPart]) -> Answer:
    """What the parts are together. Each call begins with a part that has no text, and they come in order."""
    text = {"text": "", "reasoning": ""}
    calls: dict[int, tuple[str, str]] = {}
    for part in found:
        if part.call is None:
            text[part.kind] += part.text
            assert part.text
        elif part.call.index not in calls:
            assert part.text == ""
            assert part.call.index == len(calls)
            assert part.call.id == f"id{part.call.index}"
            calls[part.call.index] = (part.call.name, "")
        else:
            calls[part.call.index] = (part.call.name, calls[part.call.index][1] + part.text)
    return text["text"], text["reasoning"], tuple(calls.values())


BONN = ("weather", '{"city": "Bonn"}')
NOW = ("time", "{}")

SAMPLES: list[tuple[str, str, Answer]] = [
    (
        "hermes",
        '<think>\nhm\n</think>\n\nI look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n'
        '</tool_call>\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>\nDone.',
        ("I look.\nDone.", "hm", (BONN, NOW)),
    ),
    ("hermes", '<tool_call>{"arguments": {"city": "Bonn"}, "name": "weather"}', ("", "", (BONN,))),
    (
        "hermes",
        '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Bonn\\"}"}</tool_call>',
        ("", "", (BONN,)),
    ),
    (
        "hermes",
        '<tool_call>\n{"name": "weather", "arguments": {"city": "a\\"}</tool_call>", "days": 2}}\n</tool_call>',
        ("", "", (("weather", '{"city": "a\\"}</tool_call>", "days": 2}'),)),
    ),
    ("hermes", '```json\n{\n  "name": "weather",\n  "arguments": {"city": "Bonn"}\n}\n```', ("", "", (BONN,))),
    ("hermes", '{"name": "weather", "arguments": {"city": "Bonn"}}', ("", "", (BONN,))),
    ("hermes", '```json\n{"city": "Bonn"}\n```', ('```json\n{"city": "Bonn"}\n```', "", ())),
    ("hermes", "a <tool_call> b", ("a <tool_call> b", "", ())),
    ("hermes", '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
     ('<tool_call>{"name": "rm", "arguments": {}}</tool_call>', "", ())),
    ("hermes", '<tool_call>{"name": "time", "arguments": {nope}}</tool_call>',
     ('<tool_call>{"name": "time", "arguments": {nope}}</tool_call>', "", ())),
    ("hermes", "<think>\nonly thought", ("", "only thought", ())),
    ("hermes", "  plain \n", ("  plain \n", "", ())),
    ("llama", '{"name": "weather", "parameters": {"city": "Bonn"}}; {"name": "time", "parameters": {}}',
     ("", "", (BONN, NOW))),
    ("llama", '<|python_tag|>{"type": "function", "name": "weather", "parameters": {"city": "Bonn"}}',
     ("", "", (BONN,))),
    ("llama", '{"name": "Alice", "age": 3}', ('{"name": "Alice", "age": 3}', "", ())),
    ("mistral", 'x[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{"city": "Bonn"}[TOOL_CALLS]time[ARGS]{}',
     ("x", "", (BONN, NOW))),
    (
        "mistral-list",
        '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Bonn"}, "id": "abcdefghi"}, '
        '{"name": "time", "arguments": {}}]',
        ("", "", (BONN, NOW)),
    ),
    (
        "qwen-coder",
        "Ok\n<tool_call>\n<function=weather>\n<parameter=city>\nBo\nnn\n</parameter>\n<parameter=days>\n3\n</parameter>"
        "\n</function>\n</tool_call>",
        ("Ok", "", (("weather", '{"city": "Bo\\nnn", "days": 3}'),)),
    ),
    ("qwen-coder", "<function=weather>\n<parameter=city>\nBonn\n</parameter>\n</function>", ("", "", (BONN,))),
    (
        "glm",
        "<think></think>\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Bonn</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        ("", "", (("weather", '{"city": "Bonn", "days": 3}'),)),
    ),
    ("glm", "<tool_call>weather<arg_key>city</arg_key><arg_value>Bonn</arg_value></tool_call>", ("", "", (BONN,))),
    (
        "minimax",
        '<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">Bonn</parameter>\n</invoke>\n'
        "</minimax:tool_call>",
        ("", "", (BONN,)),
    ),
    (
        "seed",
        "<seed:tool_call>\n<function=weather>\n<parameter=city>Bonn</parameter>\n</function>\n</seed:tool_call>",
        ("", "", (BONN,)),
    ),
    (
        "kimi",
        '<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{"city": "Bonn"}'
        "<|tool_call_end|><|tool_call_begin|>functions.time:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_calls_section_end|>",
        ("", "", (BONN, NOW)),
    ),
    (
        "deepseek-r1",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{"city": "Bonn"}\n```'
        "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
        ("", "", (BONN, NOW)),
    ),
    (
        "deepseek",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "Bonn"}<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜>",
        ("", "", (BONN,)),
    ),
    (
        "lfm2",
        '<|tool_call_start|>[weather(city="Bo,nn)", days=3), time()]<|tool_call_end|>ok',
        ("ok", "", (("weather", '{"city": "Bo,nn)", "days": 3}'), NOW)),
    ),
    (
        "lfm2",
        "<|tool_call_start|>[weather(city='it\\'s', days=None)]<|tool_call_end|>",
        ("", "", (("weather", '{"city": "it\'s", "days": null}'),)),
    ),
    (
        "gemma-4",
        '<|tool_call>call:weather{city:<|"|>Bonn, x<|"|>,days:3}<tool_call|><|tool_call>call:time{}<tool_call|>',
        ("", "", (("weather", '{"city": "Bonn, x", "days": 3}'), NOW)),
    ),
    ("nemotron", '<TOOLCALL>[{"name": "weather", "arguments": {"city": "Bonn"}}]</TOOLCALL>', ("", "", (BONN,))),
    (
        "command-r",
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "weather", "parameters": {"city": "Bonn"}}\n]'
        "<|END_ACTION|>",
        ("", "", (BONN,)),
    ),
    ("apertus", '<|tools_prefix|>[{"weather": {"city": "Bonn"}}, {"time": {}}]<|tools_suffix|>', ("", "", (BONN, NOW))),
    ("apriel", '<tool_calls>[{"name": "weather", "arguments": {"city": "Bonn"}}]</tool_calls>', ("", "", (BONN,))),
    ("gigachat", '<|function_call|>{"name": "weather", "arguments": {"city": "Bonn"}}', ("", "", (BONN,))),
    ("granite", '<|tool_call|>[{"name": "weather", "arguments": {"city": "Bonn"}}]', ("", "", (BONN,))),
    ("phi-4", '<|tool_call|>[{"name": "weather", "arguments": {"city": "Bonn"}}]<|/tool_call|>', ("", "", (BONN,))),
    ("functionary", '<function=weather>{"city": "Bonn"}</function>', ("", "", (BONN,))),
    ("functionary-2", '>>>weather\n{"city": "Bonn"}', ("", "", (BONN,))),
    (
        "gpt-oss",
        "<|channel|>analysis<|message|>hm hm<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        '<|start|>assistant to=functions.weather<|channel|>commentary <|constrain|>json<|message|>{"city": "Bonn"}',
        ("I look.", "hm hm", (BONN,)),
    ),
    (
        "gpt-oss",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>It rains.",
        ("It rains.", "hm", ()),
    ),
    (
        "gpt-oss",
        '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Bonn"}<|call|>',
        ("", "", (BONN,)),
    ),
    ("gpt-oss", "just text", ("just text", "", ())),
    ("generic", '{"function": {"name": "weather", "arguments": {"city": "Bonn"}}}', ("", "", (BONN,))),
    ("generic", '{"weather": {"city": "Bonn"}}', ("", "", (BONN,))),
]  # fmt: skip
