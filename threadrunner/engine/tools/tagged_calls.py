"""Calls whose arguments stand in tags of their own, each a text: Qwen3-Coder, GLM, MiniMax, Seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from threadrunner.engine.tools.json_calls import NAME, take_end
from threadrunner.engine.tools.lark import CallGrammar, quote
from threadrunner.engine.tools.sink import CallSink, Members, as_json, types_of
from threadrunner.engine.tools.source import Malformed, Reading, TextSource


@dataclass(frozen=True, slots=True)
class TaggedCalls:
    """The fields are what stands before and after a call's name, a parameter's name and its value; white space between
    is free when read, and as `gap` says when kept to."""

    opening: str
    closing: str
    name: tuple[str, str]
    key: tuple[str, str]
    value: tuple[str, str]
    end: str = ""
    gap: str = "\n"
    lined: bool = False
    """A value stands on lines of its own."""
    also_open: tuple[str, ...] = ()

    @property
    def opens(self) -> tuple[str, ...]:
        return (self.opening, *self.also_open)

    @property
    def bare(self) -> bool:
        return False

    @property
    def marks(self) -> tuple[str, ...]:
        texts = (self.closing, *self.name, *self.key, *self.value, self.end)
        return tuple(text for text in texts if text.strip())

    def read(self, source: TextSource, sink: CallSink) -> Reading[None]:
        before, after = self.name
        if not (before and source.text.endswith(before, 0, source.at)):
            yield from source.blanks()
            yield from source.literal(before)
        name = yield from source.word(NAME)
        yield from source.blanks()
        yield from source.literal(after)
        sink.begin(name)
        members = Members(sink)
        while True:
            yield from source.blanks()
            if not (yield from source.optional(self.key[0])):
                break
            yield from self._parameter(source, sink.tools[name].properties, members)
        if self.end:
            yield from source.literal(self.end)
            members.end()
            yield from take_end(source, self.closing)
        else:
            yield from source.literal(self.closing)
            members.end()

    def _parameter(self, source: TextSource, properties: Mapping[str, Any], members: Members) -> Reading[None]:
        key = (yield from source.until(self.key[1])).strip()
        if not key or len(key) > 256:
            raise Malformed("no parameter's name")
        if self.value[0]:
            yield from source.blanks()
            yield from source.literal(self.value[0])
        value = yield from source.until(self.value[1])
        if self.lined:
            value = value.removeprefix("\n").removesuffix("\n")
        members.add(key, as_json(value, properties.get(key)))

    def lark(self, grammar: CallGrammar) -> str:
        calls = [grammar.rule(f"call_{i}", self._call(grammar, i)) for i in range(len(grammar.tools))]
        gap = quote(self.gap) if self.gap else ""
        inner_gap = gap if self.name[0] else ""
        end = f"{grammar.marked(self.end)} {gap}" if self.end else ""
        body = f"{grammar.marked(self.opening)} {inner_gap} ({' | '.join(calls)}) {end} {grammar.marked(self.closing)}"
        return grammar.repeated(grammar.rule("block", body), gap)

    def _call(self, grammar: CallGrammar, i: int) -> str:
        tool = grammar.tools[i]
        gap = quote(self.gap) if self.gap else ""
        parts = [grammar.marked(self.name[0]), quote(tool.name), grammar.marked(self.name[1])]
        parts += [] if self.name[1].endswith("\n") else [gap]
        for j, (key, schema) in enumerate(tool.properties.items()):
            body = f"{grammar.marked(self.key[0])} {quote(key)} {grammar.marked(self.key[1])}"
            between = gap if self.value[0] else ""
            line = quote("\n") if self.lined else ""
            value = self._value(grammar, f"value_{i}_{j}", schema)
            body += f" {between} {grammar.marked(self.value[0])} {line} {value}"
            rule = grammar.rule(f"parameter_{i}_{j}", f"{body} {gap}")
            parts.append(rule if key in tool.required else f"{rule}?")
        return " ".join(part for part in parts if part)

    def _value(self, grammar: CallGrammar, name: str, schema: object) -> str:
        """A value up to and with its closing tag."""
        close = f"{quote(chr(10)) if self.lined else ''} {grammar.marked(self.value[1])}"
        choices = schema.get("enum") if isinstance(schema, dict) else None
        if isinstance(choices, list) and choices and all(isinstance(choice, str) for choice in choices):
            return f"({' | '.join(map(quote, choices))}) {close}"
        if types_of(schema) == {"string"} or not isinstance(schema, dict) or not types_of(schema):
            return grammar.free_text(name, ("\n" if self.lined else "") + self.value[1])
        return f"{grammar.json(name, schema)} {close}"
