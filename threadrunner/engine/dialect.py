"""How one model writes calls and thoughts: its family's row with the vocabulary's own tokens."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.constraints.normal import closed, normal
from threadrunner.engine.llama.errors import BadGrammar
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.tools.families import GENERIC, call_family, thought_tags
from threadrunner.engine.tools.harmony import HARMONY_MARKS, HarmonyCalls
from threadrunner.engine.tools.lark import CallGrammar
from threadrunner.engine.tools.layout import Layout, Thoughts, ThoughtTags
from threadrunner.engine.tools.sink import ToolSpec

log = logging.getLogger("threadrunner.engine")

_BLANKS = r'("\n" | "\n\n")?'
"""Between a thought and what follows it."""
_SHORT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True, slots=True)
class Speech:
    """What the answers to one request may be made of."""

    layout: Layout
    tools: Sequence[ToolSpec]
    tokens: Mapping[str, int]
    """The markers that the vocabulary has as one token each."""
    markers: Mapping[int, bytes]
    """Those of them that are control tokens, which the splitter is shown by their texts."""
    new_id: Callable[[], str]
    stop_tokens: frozenset[int]

    def calls(self) -> Constraint:
        """One call or several."""
        grammar, calls = self._grammar()
        return Constraint.of_lark(grammar.text(calls))

    def required(self) -> Constraint:
        """The same for a whole answer, which may have a thought before its calls where both stand in channels."""
        grammar, calls = self._grammar()
        syntax = self.layout.syntax
        lead = _BLANKS if self.layout.thought else ""
        if isinstance(syntax, HarmonyCalls):
            lead = syntax.lead(grammar)
        return Constraint.of_lark(grammar.text(f"{lead} ({calls})"))

    def calls_or_json(self, schema: Mapping[str, Any] | bool) -> Constraint:
        """Calls, or an answer that fits a schema."""
        grammar, calls = self._grammar()
        answer = grammar.json("answer", {} if isinstance(schema, bool) else closed(normal(schema)))
        lead = _BLANKS if self.layout.thought else ""
        return Constraint.of_lark(grammar.text(f"{lead} ({calls} | {answer})"))

    def arguments(self, name: str) -> Constraint:
        """The arguments of one tool alone."""
        held = next((_held(tool) for tool in self.tools if tool.name == name), {"type": "object"})
        return Constraint.of_schema(dict(held))

    def _grammar(self) -> tuple[CallGrammar, str]:
        """A tool whose schema cannot be held takes any object: one odd tool must not end requests."""
        assert self.layout.syntax is not None
        held = [replace(tool, parameters=_held(tool)) for tool in self.tools]
        grammar = CallGrammar(held, self.tokens, self.layout.many)
        return grammar, self.layout.syntax.lark(grammar)


class Dialect:
    """Of one model."""

    def __init__(self, vocab: Vocab, template: str | None, takes_tools: Callable[[], bool]) -> None:
        """`takes_tools`: whether the template shows the model which tools there are; else calls are in the generic
        form."""
        self._vocab = vocab
        self._tokens: dict[str, int | None] = {}
        self._known = call_family(template, lambda text: self._token(text) is not None)
        self._takes_tools = takes_tools
        self.thought = thought_tags(template, lambda text: self._token(text) is not None)

    @property
    def generic(self) -> bool:
        """Whether the model must be told in words how a tool is called."""
        return self._known is None or not self._takes_tools()

    def _token(self, text: str) -> int | None:
        """The token that is a marker, if it is one; remembered, since each request asks for some."""
        if text not in self._tokens:
            tokens = self._vocab.tokenize(text, special=True)
            self._tokens[text] = tokens[0] if len(tokens) == 1 and self._vocab.marker(tokens[0]) == text else None
        return self._tokens[text]

    def speech(self, tools: Sequence[ToolSpec], *, opening: str, thoughts: Thoughts, many: bool) -> Speech:
        """`opening` is what stands open at the prompt's end."""
        family = GENERIC if self.generic or self._known is None else self._known
        if family is GENERIC:
            many = False  # a model that was taught no calls repeats its first one for ever
        thought = self.thought
        texts = _marks(thought)
        if tools:
            texts |= {*family.syntax.opens, *family.syntax.marks}
        tokens = {text: token for text in texts if (token := self._token(text)) is not None}
        controls = {text: token for text, token in tokens.items() if self._vocab.is_special(token)}
        layout = Layout(
            family.syntax if tools else None,
            {tool.name: tool for tool in tools},
            thought,
            thinking=thought is not None and _stands_open(opening, thought),
            many=many,
            thoughts=thoughts,
            hidden=frozenset(controls) - (_marks(thought) if thoughts == "aloud" else set()),
        )
        ends = (self._token(text) for text in family.ends) if tools else ()
        return Speech(
            layout,
            tools,
            tokens,
            {token: text.encode() for text, token in controls.items()},
            _short_id if family.short_ids else _long_id,
            frozenset(token for token in ends if token is not None),
        )

    @property
    def channels(self) -> bool:
        """Whether all that is said stands in channels, as gpt-oss has it."""
        return self.thought is not None and self.thought.channels

    def thought_end(self, *, must: bool = False) -> tuple[int, ...]:
        """What ends a thought when it is said for the model, and begins the answer; a call where it `must` call."""
        if self.thought is None:
            return ()
        then = "<|start|>assistant" if must and self.channels else self.thought.then
        return tuple(self._vocab.tokenize(f"\n{self.thought.end}{then}", special=True))

    def thought_begin(self) -> frozenset[int]:
        """The one token that a thought begins with, if there is one."""
        token = self._token(self.thought.begin) if self.thought else None
        return frozenset() if token is None else frozenset({token})


def _marks(thought: ThoughtTags | None) -> set[str]:
    """What may be a token each."""
    if thought is None:
        return set()
    return set(HARMONY_MARKS) if thought.channels else {thought.begin, thought.end}


def _stands_open(opening: str, thought: ThoughtTags) -> bool:
    begin = opening.rfind(thought.begin)
    return begin >= 0 and thought.end not in opening[begin:]


def _held(tool: ToolSpec) -> Mapping[str, Any]:
    parameters = dict(tool.parameters) if tool.parameters else {"type": "object"}
    problem = _problem(json.dumps(parameters))
    if not problem:
        return dict(closed(normal(parameters)))  # as Constraint.of_schema has it
    log.warning("tool %s: its arguments are kept to any JSON object, not to its schema: %s", tool.name, problem)
    return {"type": "object"}


@lru_cache(maxsize=1024)
def _problem(schema: str) -> str:
    try:
        Constraint.of_schema(json.loads(schema))
    except BadGrammar as error:
        return str(error)
    return ""


def _short_id() -> str:
    return "".join(secrets.choice(_SHORT) for _ in range(9))


def _long_id() -> str:
    return f"call_{secrets.token_hex(12)}"
