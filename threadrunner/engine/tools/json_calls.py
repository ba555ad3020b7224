"""Calls whose arguments are JSON: objects of name and arguments, or a name before the arguments."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from threadrunner.engine.tools.lark import CallGrammar, quote
from threadrunner.engine.tools.sink import CallSink
from threadrunner.engine.tools.source import Malformed, Reading, TextSource

_NAME_KEYS = {"name", "tool_name", "tool"}
_ARGUMENT_KEYS = {"arguments", "parameters", "args"}
_OTHER_KEYS = {"type", "id", "tool_call_id", "function", "index"}
FENCE = "```"
NAME = re.compile(r"[A-Za-z0-9_.:/-]+")


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """`{"name": …, "arguments": {…}}` between an opening and a closing marker, one or a list of them. An opening of ""
    means that the answer begins with it."""

    opening: str
    closing: str
    listed: bool = False
    around: str = ""
    """White space between marker and JSON, as the model was trained."""
    name_key: str = "name"
    arguments_key: str = "arguments"
    keyed: bool = False
    """`{NAME: {…}}` instead."""
    between: str = "\n"
    also_open: tuple[str, ...] = ()
    numbered: str = ""
    """The key of a call's number, which comes first; such lists are indented."""
    also_bare: bool = False
    """Small models leave the opening out, or fence the JSON as code."""

    @property
    def opens(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.opening, *self.also_open)))

    @property
    def bare(self) -> bool:
        return self.also_bare or not self.opening

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.closing,)))

    def read(self, source: TextSource, sink: CallSink) -> Reading[None]:
        """What follows the opening marker, one call or a list, and the closing marker if it is there."""
        yield from source.blanks()
        fenced = yield from source.optional(FENCE)
        if fenced:
            yield from source.optional("json")
            yield from source.blanks()
        if (yield from source.next_char()) == "[":
            yield from source.literal("[")
            yield from self._list(source, sink)
        else:
            yield from _call(source, sink)
        if fenced:
            yield from take_end(source, FENCE)
        yield from take_end(source, self.closing)

    def _list(self, source: TextSource, sink: CallSink) -> Reading[None]:
        while True:
            yield from source.blanks()
            yield from _call(source, sink)
            yield from source.blanks()
            if not source.ended and (yield from source.next_char()) == ",":
                source.at += 1
                continue
            yield from source.optional("]")
            return

    def lark(self, grammar: CallGrammar) -> str:
        calls = [grammar.rule(f"call_{i}", self._one(grammar, i)) for i in range(len(grammar.tools))]
        one = grammar.rule("call", " | ".join(calls))
        opening = grammar.marked(self.opening)
        closing = grammar.marked(self.closing)
        gap = grammar.marked(self.around)
        if self.listed:
            line, end = (quote("\n    "), quote("\n")) if self.numbered else ("", "")
            between = f'"," {line}' if line else quote(", ")
            calls_text = f'"[" {line} {grammar.repeated(one, between)} {end} "]"'
            return f"{opening} {gap} {calls_text} {gap} {closing}"
        block = grammar.rule("block", f"{opening} {gap} {one} {gap} {closing}")
        return grammar.repeated(block, quote(self.between) if self.between else "")

    def _one(self, grammar: CallGrammar, i: int) -> str:
        name = json.dumps(grammar.tools[i].name)
        if self.keyed:
            return f"{quote('{' + name + ': ')} {grammar.arguments(i)} {quote('}')}"
        begin = quote("{")
        if self.numbered:
            key = f'{{"{self.numbered}": "'
            begin = f"{quote(key)} /[0-9]{{1,3}}/ {quote(chr(34) + ', ')}"
        head = f'"{self.name_key}": {name}, "{self.arguments_key}": '
        return f"{begin} {quote(head)} {grammar.arguments(i)} {quote('}')}"


def take_end(source: TextSource, closing: str) -> Reading[None]:
    """A closing marker that follows; many models leave it out."""
    if not closing:
        return
    at = source.at
    yield from source.blanks()
    if not (yield from source.optional(closing)):
        source.at = at


def _call(source: TextSource, sink: CallSink) -> Reading[None]:
    """One object. Where the name comes before the arguments, these are told as they come."""
    yield from source.literal("{")
    begun, told, late = False, False, ""
    while True:
        yield from source.blanks()
        if (yield from source.next_char()) == "}":
            source.at += 1
            break
        key = yield from source.string()
        yield from source.blanks()
        yield from source.literal(":")
        yield from source.blanks()
        first = yield from source.next_char()
        if not begun and first == '"' and (key in _NAME_KEYS or key == "function"):
            sink.begin((yield from source.string()))
            begun = True
        elif key in _ARGUMENT_KEYS or (not begun and first == "{" and (key == "function" or key in sink.tools)):
            if begun and not told and first == "{":
                yield from sink.object(source)
                told = True
            elif key in _ARGUMENT_KEYS:
                late = yield from source.json()
            else:
                late = yield from _nested(source, sink, key)
                begun = True
        elif key in _OTHER_KEYS or begun:
            yield from source.json()
        else:
            raise Malformed(f"a call has no {key!r}")
        yield from source.blanks()
        if (yield from source.next_char()) == ",":
            source.at += 1
    if not begun:
        raise Malformed("no name")
    if not told:
        sink.arguments(_unquoted(late) or "{}")
    sink.end()


def _nested(source: TextSource, sink: CallSink, key: str) -> Reading[str]:
    """`"function": {"name": …, "arguments": …}` as OpenAI has it, or `NAME: {…}`."""
    text = yield from source.json()
    if key != "function":
        sink.begin(key)
        return text
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("no JSON") from None
    if not isinstance(inner.get("name"), str):
        raise Malformed("no name")
    sink.begin(inner["name"])
    return json.dumps(inner.get("arguments", inner.get("parameters")) or {}, ensure_ascii=False)


def _unquoted(arguments: str) -> str:
    """Some models write the arguments as a string that holds the JSON."""
    if not arguments.startswith('"'):
        return "" if arguments == "null" else arguments
    try:
        return str(json.loads(arguments)) or "{}"
    except ValueError:
        raise Malformed("no JSON") from None


@dataclass(frozen=True, slots=True)
class NamedCalls:
    """A name, a marker, then the arguments' JSON. `section` markers stand around all calls."""

    opening: str
    separator: str
    closing: str = ""
    section: tuple[str, str] = ("", "")
    prefix: str = ""
    """Before the name."""
    number: bool = False
    """Kimi's `:0` after the name."""
    skipped: str = ""
    """A marker between name and separator, with a text (an id) that is dropped."""
    between: str = ""

    @property
    def opens(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.section[0], self.opening)))

    @property
    def bare(self) -> bool:
        return False

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.separator.strip(), self.closing.strip(), self.section[1], self.skipped)))

    def read(self, source: TextSource, sink: CallSink) -> Reading[None]:
        section, end = self.section
        opened = section and source.text.endswith(section, 0, source.at)
        if opened and section != self.opening:
            yield from source.blanks()
            yield from source.literal(self.opening)
        yield from source.blanks()
        yield from source.optional(self.prefix)
        name = yield from source.word(NAME)
        if self.number:
            name = re.sub(r":\d+$", "", name)
        if self.skipped and (yield from source.optional(self.skipped)):
            yield from source.word(NAME)
        yield from source.blanks()
        yield from source.optional(self.separator.lstrip())
        yield from source.blanks()
        if (yield from source.next_char()) != "{":
            raise Malformed("no object")
        sink.begin(name)
        yield from sink.object(source)
        sink.end()
        yield from take_end(source, self.closing.strip())
        yield from take_end(source, end)

    def lark(self, grammar: CallGrammar) -> str:
        number = "/:[0-9]{1,3}/" if self.number else ""
        separator = grammar.marked(self.separator)
        prefix = grammar.marked(self.prefix)
        calls = [
            f"{prefix} {quote(tool.name)} {number} {separator} {grammar.arguments(i)}"
            for i, tool in enumerate(grammar.tools)
        ]
        names = " | ".join(grammar.rule(f"call_{i}", call) for i, call in enumerate(calls))
        closing = grammar.marked(self.closing)
        one = grammar.rule("one", f"{grammar.marked(self.opening)} ({names}) {closing}")
        calls_text = grammar.repeated(one, quote(self.between) if self.between else "")
        begin, end = self.section
        return f"{grammar.marked(begin)} {calls_text} {grammar.marked(end)}" if begin else calls_text
