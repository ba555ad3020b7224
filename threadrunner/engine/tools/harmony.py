"""gpt-oss: all that is said stands in channels, `<|channel|>NAME<|message|>…<|end|>`, a call in one to a function."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from threadrunner.engine.tools.lark import CallGrammar, quote
from threadrunner.engine.tools.sink import CallSink
from threadrunner.engine.tools.source import Malformed, Reading, Source

_TO = re.compile(r"to=functions\.([A-Za-z0-9_.:/-]+)")


@dataclass(frozen=True, slots=True)
class HarmonyCalls:
    """`to=functions.NAME` in a channel's header, the arguments' JSON in its body."""

    opens = ("to=functions.",)
    bare = False
    marks = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>")

    def read(self, source: Source, sink: CallSink) -> Reading[None]:
        begin = source.at - len(self.opens[0])
        header = yield from source.until("<|message|>")
        found = _TO.match(source.text, begin)
        if not found or len(header) > 256:
            raise Malformed("no function's name")
        yield from source.blanks()
        if (yield from source.next_char()) != "{":
            raise Malformed("no object")
        sink.begin(found[1])
        yield from source.json(sink.arguments)
        sink.end()

    def lark(self, grammar: CallGrammar) -> str:
        calls = []
        for i, tool in enumerate(grammar.tools):
            body = f"{quote('to=functions.' + tool.name)} channel {grammar.marked('<|message|>')} {grammar.arguments(i)}"
            calls.append(grammar.rule(f"call_{i}", body))
        commentary = grammar.marked("<|channel|>commentary")
        grammar.rule("channel", f'{commentary}? (" " {grammar.marked("<|constrain|>")}? "json")?')
        return f"({' | '.join(calls)})"


def channels(text: str) -> Iterator[str]:
    """The name of the channel that a header says: analysis, commentary or final."""
    yield from re.findall(r"<\|channel\|>(\w+)", text)
