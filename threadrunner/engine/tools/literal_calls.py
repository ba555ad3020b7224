"""Calls written as literals of a programming language: LFM2's `[name(key="value")]` and Gemma 4's `call:name{…}`."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from threadrunner.engine.tools.json_calls import NAME, take_end
from threadrunner.engine.tools.lark import CallGrammar, quote
from threadrunner.engine.tools.sink import CallSink, Members, ToolSpec, types_of
from threadrunner.engine.tools.source import Malformed, Reading, TextSource

_PLACES = re.compile(r"""["'()\[\]{},]""")
_STRING_ENDS = {quote_: re.compile(rf"[{quote_}\\]") for quote_ in "\"'"}
_IDENTIFIER = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class PythonCalls:
    """`[name(key="value", other=1), …]` between markers; each argument is told when it is closed."""

    opening: str
    closing: str

    @property
    def opens(self) -> tuple[str, ...]:
        return (self.opening,)

    @property
    def bare(self) -> bool:
        return False

    @property
    def marks(self) -> tuple[str, ...]:
        return (self.closing,)

    def read(self, source: TextSource, sink: CallSink) -> Reading[None]:
        yield from source.blanks()
        listed = yield from source.optional("[")
        while True:
            yield from source.blanks()
            name = yield from source.word(NAME)
            yield from source.literal("(")
            sink.begin(name)
            yield from _keywords(source, Members(sink))
            yield from source.blanks()
            if not listed or source.ended or (yield from source.next_char()) != ",":
                break
            source.at += 1
        if listed:
            yield from source.optional("]")
        yield from take_end(source, self.closing)

    def lark(self, grammar: CallGrammar) -> str:
        calls = []
        for i, tool in enumerate(grammar.tools):
            members = _members(grammar, i, tool, "=", ", ", _json_value)
            calls.append(grammar.rule(f"call_{i}", f"{quote(tool.name + '(')} {members} {quote(')')}"))
        one = grammar.rule("call", " | ".join(calls))
        inner = grammar.repeated(one, quote(", "))
        return f'{grammar.marked(self.opening)} "[" {inner} "]" {grammar.marked(self.closing)}'


def _keywords(source: TextSource, members: Members) -> Reading[None]:
    while True:
        yield from source.blanks()
        if (yield from source.optional(")")):
            members.end()
            return
        key = yield from source.word(_IDENTIFIER)
        yield from source.blanks()
        yield from source.literal("=")
        text = yield from _literal(source)
        members.add(key, _to_json(text))
        yield from source.blanks()
        if (yield from source.next_char()) == ",":
            source.at += 1


def _literal(source: TextSource) -> Reading[str]:
    """The text of a value, up to the comma or bracket that ends it."""
    begin, depth, quoted = source.at, 0, ""
    while True:
        pattern = _STRING_ENDS[quoted] if quoted else _PLACES
        found = pattern.search(source.text, source.at)
        if found is None or (found[0] == "\\" and found.end() >= len(source.text)):
            source.at = len(source.text) if found is None else found.start()
            yield from source.more()
            continue
        char, source.at = found[0], found.end()
        if quoted:
            source.at += char == "\\"
            quoted = "" if char == quoted else quoted
        elif char in "\"'":
            quoted = char
        elif char in "([{":
            depth += 1
        elif depth:
            depth -= char in ")]}"
        else:
            source.at -= 1
            return source.text[begin : source.at].strip()


def _to_json(text: str) -> str:
    """A value as JSON or as Python writes it. Raises Malformed."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        return text
    try:
        return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise Malformed("no value") from None


@dataclass(frozen=True, slots=True)
class GemmaCalls:
    """`call:name{key:<|"|>text<|"|>,other:1}` between markers; the arguments are told when the call is closed."""

    opening: str = "<|tool_call>"
    closing: str = "<tool_call|>"
    quotes: str = '<|"|>'

    @property
    def opens(self) -> tuple[str, ...]:
        return (self.opening,)

    @property
    def bare(self) -> bool:
        return False

    @property
    def marks(self) -> tuple[str, ...]:
        return (self.closing, self.quotes)

    def read(self, source: TextSource, sink: CallSink) -> Reading[None]:
        yield from source.blanks()
        yield from source.literal("call:")
        name = yield from source.word(NAME)
        if (yield from source.next_char()) != "{":
            raise Malformed("no arguments")
        sink.begin(name)
        text = yield from source.until(self.closing)
        value = _GemmaValue(text.strip(), self.quotes).whole()
        sink.arguments(json.dumps(value, ensure_ascii=False))
        sink.end()

    def lark(self, grammar: CallGrammar) -> str:
        calls = []
        for i, tool in enumerate(grammar.tools):
            members = _members(grammar, i, tool, ":", ",", self._value)
            calls.append(grammar.rule(f"call_{i}", f"{quote('call:' + tool.name + '{')} {members} {quote('}')}"))
        body = f"{grammar.marked(self.opening)} ({' | '.join(calls)}) {grammar.marked(self.closing)}"
        mark = grammar.marked(self.quotes)
        grammar.rule("gemma_text", f"{mark} /[^<]*/ {mark}")
        grammar.rule("gemma_number", r"/-?(0|[1-9][0-9]*)(\.[0-9]+)?/")
        grammar.rule("gemma_list", '"[" (gemma_value ("," gemma_value)*)? "]"')
        grammar.rule(
            "gemma_object", '"{" (/[A-Za-z0-9_]+/ ":" gemma_value ("," /[A-Za-z0-9_]+/ ":" gemma_value)*)? "}"'
        )
        grammar.rule("gemma_value", 'gemma_text | gemma_number | "true" | "false" | "null" | gemma_list | gemma_object')
        return grammar.repeated(grammar.rule("block", body), "")

    def _value(self, grammar: CallGrammar, name: str, schema: object) -> str:
        choices = schema.get("enum") if isinstance(schema, dict) else None
        if (
            isinstance(choices, list)
            and choices
            and all(isinstance(choice, str) and "<" not in choice for choice in choices)
        ):
            mark = grammar.marked(self.quotes)
            return f"{mark} ({' | '.join(map(quote, choices))}) {mark}"
        kinds = {
            "string": "gemma_text",
            "integer": "/-?(0|[1-9][0-9]*)/",
            "number": "gemma_number",
            "boolean": '("true" | "false")',
            "null": '"null"',
            "array": "gemma_list",
            "object": "gemma_object",
        }
        found = [kinds[kind] for kind in sorted(types_of(schema)) if kind in kinds]
        return grammar.rule(name, " | ".join(found)) if found else "gemma_value"


def _json_value(grammar: CallGrammar, name: str, schema: object) -> str:
    return grammar.json(name, schema if isinstance(schema, Mapping) else {})


def _members(grammar: CallGrammar, i: int, tool: ToolSpec, sign: str, comma: str, value: Any) -> str:
    """Members in the schema's order, the optional ones left out or not."""
    rules = []
    for j, (key, schema) in enumerate(tool.properties.items()):
        body = f"{quote(key + sign)} {value(grammar, f'value_{i}_{j}', schema)}"
        rules.append((grammar.rule(f"member_{i}_{j}", body), key in tool.required))
    # what may follow once a member was there, and what may come while none was
    after, first = "", ""
    for rule, needed in reversed(rules):
        started = f"{rule} {after}"
        first = f"({started})" if needed else f"({started} | {first})" if first else f"({started})?"
        after = f"({quote(comma)} {rule}){'' if needed else '?'} {after}"
    return first


class _GemmaValue:
    """Reads a value of Gemma's notation. Raises Malformed."""

    def __init__(self, text: str, quotes: str) -> None:
        self._text = text
        self._quotes = quotes
        self._at = 0

    def whole(self) -> Any:
        value = self._value(0)
        if self._text[self._at :].strip():
            raise Malformed("more than a value")
        return value

    def _value(self, depth: int) -> Any:
        if depth > 32:
            raise Malformed("too deep")
        text = self._text
        if text.startswith(self._quotes, self._at):
            begin = self._at + len(self._quotes)
            end = text.find(self._quotes, begin)
            if end < 0:
                raise Malformed("no end of a text")
            self._at = end + len(self._quotes)
            return text[begin:end]
        if text[self._at : self._at + 1] in ("{", "["):
            return self._many(depth, text[self._at])
        found = re.compile(r"[^,}\]]+").match(text, self._at)
        if not found:
            raise Malformed("no value")
        self._at = found.end()
        try:
            return json.loads(found[0])
        except ValueError:
            return found[0].strip()

    def _many(self, depth: int, begin: str) -> Any:
        items: list[Any] = []
        keys: list[str] = []
        end = "}" if begin == "{" else "]"
        self._at += 1
        while True:
            if self._text.startswith(end, self._at):
                self._at += 1
                return dict(zip(keys, items, strict=True)) if begin == "{" else items
            if begin == "{":
                key, sign, _ = self._text[self._at :].partition(":")
                if not sign:
                    raise Malformed("no key")
                self._at += len(key) + 1
                keys.append(key.strip().removeprefix(self._quotes).removesuffix(self._quotes))
            items.append(self._value(depth + 1))
            if self._text.startswith(",", self._at):
                self._at += 1
