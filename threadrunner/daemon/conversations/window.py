"""Which turns the model is shown: pure. As what messages: said.py.

The window's start moves rarely and far: with each move everything after it is evaluated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from threadrunner.api.chat import Message
from threadrunner.api.conversations import ToolResult
from threadrunner.api.errors import ContextOverflow
from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.conversations.said import Asked, PastTurn, answered, chars, messages, rounds

RESERVE = 512
"""Tokens kept free for the answer, where the request sets no limit of its own; at most a quarter of the context."""

TOKENS_PER_CHAR = 0.3
"""Until the model has counted a prompt of this conversation."""


class Window(NamedTuple):
    """`first` is the first turn shown, 0: all; `left_out` how many before it are not."""

    messages: list[Message]
    first: int
    left_out: int


def estimate(turns: list[PastTurn], asked: Asked) -> int:
    """About how many tokens the prompt will have: what the model counted last, and a guess at what is new."""
    whole = chars(turns, asked)
    for index in reversed(range(len(turns))):
        counted = turns[index].tokens
        if counted and answered(turns[index]):
            old = chars(turns[: index + 1], asked._replace(prompt="", results=(), pictures=()))
            rate = min(max(counted / max(old, 1), 0.05), 2.0)
            return int(counted + (whole - old) * rate)
    return int(whole * TOKENS_PER_CHAR)


def reserve(limit: int, max_tokens: int | None) -> int:
    return min(max_tokens if max_tokens is not None else RESERVE, limit // 4)


def choose(turns: list[PastTurn], asked: Asked, *, first: int, limit: int, max_tokens: int | None) -> Window:
    """The window of the next request; `first` is where the last one began."""
    shown = [turn for turn in turns if turn.id >= first]
    if estimate(shown, asked) + reserve(limit, max_tokens) <= limit:
        return Window(messages(shown, asked), first, len(turns) - len(shown))
    return shorter(turns, asked, first=first, limit=limit // 2, counted=estimate(shown, asked))


def shorter(turns: list[PastTurn], asked: Asked, *, first: int, limit: int, counted: int) -> Window:
    """A window of about `limit` tokens at most, at least one turn shorter where one can be left out; the present one
    has `counted`."""
    shown = [turn for turn in turns if turn.id >= first]
    rate = counted / max(chars(shown, asked), 1)
    groups = rounds(shown)
    kept = kept_groups(asked)
    rest = shown
    while len(groups) > kept and (rest is shown or chars(rest, asked) * rate > limit):
        groups = groups[1:]
        rest = [turn for group in groups for turn in group]
    start = rest[0].id if rest else turns[-1].id + 1 if turns else 0
    return Window(messages(rest, asked), start, len(turns) - len(rest))


def kept_groups(asked: Asked) -> int:
    """Of `rounds`, at the end: what is asked goes on with the last one where it has the results of its calls."""
    return 1 if asked.results else 0


class TurnWindow:
    """The window that one turn is asked with. It shrinks when the model has counted and the prompt does not fit."""

    def __init__(
        self, params: GenerateParams, results: Sequence[ToolResult], past: list[PastTurn], first: int, limit: int
    ) -> None:
        """`first` and `limit` are those of the turn before: its first turn shown, and the context in tokens that this
        was chosen for."""
        self.params = params
        self.past = past
        self.limit = limit
        tools = len(msgspec.json.encode(params.tools)) if params.tools else 0
        self.asked = Asked(params.prompt or "", results, params.system, tools, params.images)
        self.window = Window([], first, 0)

    def fit(self, context: int, params: GenerateParams) -> None:
        """Choose the window for a model with that context (tokens; 0: no limit): that of the turn before, moved on if
        the context is nearly full. `params` have the model's own defaults too."""
        self.params, self.asked = params, self.asked._replace(system=params.system)
        if context != self.limit:  # another model, or a larger context: what left the window may fit again
            self.window, self.limit = Window([], 0, 0), context
        self.window = choose(
            self.past, self.asked, first=self.window.first, limit=context or 1 << 62, max_tokens=self.params.max_tokens
        )

    def shrink(self, overflow: ContextOverflow) -> None:
        """Leave out more turns. Raises the overflow itself where there is no turn left to leave out."""
        tokens, limit = overflow.facts.get("prompt_tokens"), overflow.facts.get("limit")
        shown = [turn for turn in self.past if turn.id >= self.window.first]
        if len(rounds(shown)) <= kept_groups(self.asked) or not isinstance(tokens, int):
            raise overflow
        self.window = shorter(
            self.past, self.asked, first=self.window.first, limit=limit // 2 if isinstance(limit, int) else 0,
            counted=tokens,
        )  # fmt: skip

    def request(self) -> GenerateParams:
        """What the worker is asked: messages in place of the session, every piece, and an error for an overflow."""
        return msgspec.structs.replace(
            self.params, prompt=None, images=[], system=None, messages=self.window.messages, session=None, mode=None,
            memory=None, replace=0, stream=True, timeout=None, context_overflow="error",
        )  # fmt: skip
