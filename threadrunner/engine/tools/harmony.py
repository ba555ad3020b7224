"""gpt-oss's calls: a message to a function, `to=functions.NAME` in its header and the arguments' JSON in its body."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from threadrunner.engine.tools.lark import CallGrammar, quote
from threadrunner.engine.tools.sink import CallSink
from threadrunner.engine.tools.source import Malformed, Reading, TextSource

HARMONY_MARKS = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>")
MAX_HEADER = 256
_NAME = re.compile(r"to=functions\.([A-Za-z0-9_.:/-]+)")


@dataclass(frozen=True, slots=True)
class HarmonyCalls:
    """See the module."""

    opens: ClassVar[tuple[str, ...]] = ("to=functions.",)
    bare: ClassVar[bool] = False
    marks: ClassVar[tuple[str, ...]] = HARMONY_MARKS

    def read(self, source: TextSource, sink: CallSink) -> Reading[None]:
        begin = source.at - len(self.opens[0])
        header = yield from source.until("<|message|>")
        found = _NAME.match(source.text, begin)
        if not found or len(header) > MAX_HEADER:
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
            to = quote(f"to=functions.{tool.name}")
            body = f"{to} channel {grammar.marked('<|message|>')} {grammar.arguments(i)}"
            calls.append(grammar.rule(f"call_{i}", body))
        channel = grammar.marked("<|channel|>commentary")
        grammar.rule("channel", f'({channel})? (" " ({grammar.marked("<|constrain|>")})? "json")?')
        return f"({' | '.join(calls)})"

    @staticmethod
    def lead(grammar: CallGrammar) -> str:
        """What may stand before a call at the answer's beginning: a thought, the call's channel."""
        thought = grammar.marked("<|channel|>analysis<|message|>")
        end = grammar.marked("<|end|><|start|>assistant")
        channel = grammar.marked("<|channel|>commentary")
        return f'({thought} /(.|\\n)*/ {end})? ({channel})? " "'
