"""What an answer may be made of, and the parts that it is told apart into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from threadrunner.engine.tools.lark import CallGrammar
from threadrunner.engine.tools.sink import CallSink, ToolSpec
from threadrunner.engine.tools.source import Reading, TextSource

PartKind = Literal["text", "reasoning", "call"]
Thoughts = Literal["split", "aloud", "dropped"]


@dataclass(frozen=True, slots=True)
class CallHead:
    """Which call: its number in the answer, its id and its function's name."""

    index: int
    id: str
    name: str


class AnswerPart(NamedTuple):
    """A piece of an answer. `span` is where it stands in what the model said, in characters."""

    kind: PartKind
    text: str
    span: tuple[int, int] = (0, 0)
    call: CallHead | None = None


class CallSyntax(Protocol):
    """How a family writes its calls."""

    @property
    def opens(self) -> tuple[str, ...]:
        """Markers that a call begins with."""

    @property
    def bare(self) -> bool:
        """Whether one may begin without a marker, at the answer's beginning."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Its other markers."""

    def read(self, source: TextSource, sink: CallSink) -> Reading[None]:
        """What follows a marker. Raises Malformed, TextEnded."""

    def lark(self, grammar: CallGrammar) -> str:
        """An expression for one call or several, with their markers; its rules are added to the grammar."""


@dataclass(frozen=True, slots=True)
class ThoughtTags:
    """What a thought stands between, and what is said behind it to begin the answer."""

    begin: str
    end: str
    then: str = "\n\n"

    @property
    def channels(self) -> bool:
        """Not only thoughts, all that is said stands between such tags."""
        return self.begin.startswith("<|channel|>")


@dataclass(frozen=True, slots=True)
class Layout:
    """What one answer may be made of."""

    syntax: CallSyntax | None = None
    tools: Mapping[str, ToolSpec] = field(default_factory=dict)
    thought: ThoughtTags | None = None
    thinking: bool = False
    """The prompt ends within a thought."""
    thoughts: Thoughts = "split"
    """Given apart from the text, as a part of it with its tags, or not at all."""
    many: bool = True
    """Whether there may be more than one call."""
    hidden: frozenset[str] = frozenset()
    """Markers that are control tokens, and never shown."""


class CallListener(Protocol):
    """Who may act on what the splitter finds, before the model says more."""

    def call_begins(self, text: str) -> bool:
        """`text` is what was said of it so far. Whether the call is kept to its grammar from here on, so that it may be
        told as it comes; else it is held until it is whole."""

    def arguments_begin(self, name: str, text: str) -> bool:
        """Likewise for the arguments alone, where the call was not kept to its grammar."""

    def arguments_end(self) -> None:
        """They are whole."""

    def thought_ends(self) -> None:
        """The answer begins."""
