"""Which turns the model is shown, and as what messages: pure.

Always rendered in the same way, so that what the engine has cached of a conversation is a prefix of what comes next.
For the same reason the window's start moves rarely and far: with each move everything after it is evaluated again.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from threadrunner.api.chat import Message
from threadrunner.api.errors import ContextOverflow
from threadrunner.api.generation import GenerateParams

RESERVE = 512
"""Tokens kept free for the answer, where the request sets no limit of its own; at most a quarter of the context."""

TOKENS_PER_CHAR = 0.3
"""Until the model has counted a prompt of this conversation."""

MESSAGE_CHARS = 16
"""About how many characters the template's markup around a message is worth."""


class PastTurn(NamedTuple):
    """A turn before this one, as far as the model needs it."""

    id: int
    prompt: str
    answer: str | None
    state: str
    tokens: int | None = None
    """Prompt and answer together, that is, of the whole conversation up to here, as the model counted."""


class Window(NamedTuple):
    """`first` is the first turn shown, 0: all; `left_out` how many before it are not."""

    messages: list[Message]
    first: int
    left_out: int


def answered(turn: PastTurn) -> bool:
    return bool(turn.answer) and turn.state in ("done", "stopped")


def messages(system: str | None, turns: list[PastTurn], prompt: str) -> list[Message]:
    """The conversation with `prompt` as its newest message.

    A prompt whose answer was lost is part of what the user says next: a template needs user and assistant in turn, and
    the words must not be lost with the answer. A failed or empty answer leaves with its prompt: that error was told.
    """
    said = [Message("system", system)] if system else []
    unanswered: list[str] = []
    for turn in turns:
        if answered(turn):
            said.append(Message("user", "\n\n".join([*unanswered, turn.prompt])))
            said.append(Message("assistant", turn.answer or ""))
            unanswered = []
        elif turn.state == "lost" and turn.prompt not in unanswered:
            unanswered.append(turn.prompt)
    said.append(Message("user", "\n\n".join([*(text for text in unanswered if text != prompt), prompt])))
    return said


def lost_answers(turns: list[PastTurn]) -> int:
    """How many turns right before this one have lost their answer."""
    count = 0
    for turn in reversed(turns):
        if turn.state != "lost":
            break
        count += 1
    return count


def chars(said: list[Message]) -> int:
    return sum(len(message.text) + MESSAGE_CHARS for message in said)


def estimate(system: str | None, turns: list[PastTurn], prompt: str) -> int:
    """About how many tokens the prompt will have: what the model counted last, and a guess at what is new."""
    whole = chars(messages(system, turns, prompt))
    for index in reversed(range(len(turns))):
        counted = turns[index].tokens
        if counted and answered(turns[index]):
            old = chars(messages(system, turns[: index + 1], ""))
            rate = min(max(counted / max(old, 1), 0.05), 2.0)
            return int(counted + (whole - old) * rate)
    return int(whole * TOKENS_PER_CHAR)


def reserve(limit: int, max_tokens: int | None) -> int:
    return min(max_tokens if max_tokens is not None else RESERVE, limit // 4)


def choose(
    system: str | None, turns: list[PastTurn], prompt: str, *, first: int, limit: int, max_tokens: int | None
) -> Window:
    """The window of the next request; `first` is where the last one began."""
    shown = [turn for turn in turns if turn.id >= first]
    if estimate(system, shown, prompt) + reserve(limit, max_tokens) <= limit:
        return Window(messages(system, shown, prompt), first, len(turns) - len(shown))
    return shorter(system, turns, prompt, first=first, limit=limit // 2, counted=estimate(system, shown, prompt))


def shorter(system: str | None, turns: list[PastTurn], prompt: str, *, first: int, limit: int, counted: int) -> Window:
    """A window of about `limit` tokens at most, at least one turn shorter, where the present one has `counted`."""
    shown = [turn for turn in turns if turn.id >= first]
    rate = counted / max(chars(messages(system, shown, prompt)), 1)
    rest = shown[1:]
    while rest and chars(messages(system, rest, prompt)) * rate > limit:
        rest = rest[1:]
    start = rest[0].id if rest else turns[-1].id + 1 if turns else 0
    return Window(messages(system, rest, prompt), start, len(turns) - len(rest))


class TurnWindow:
    """The window that one turn is asked with. It shrinks when the model has counted and the prompt does not fit."""

    def __init__(self, params: GenerateParams, past: list[PastTurn], first: int, limit: int) -> None:
        """`first` and `limit` are those of the turn before: its first turn shown, and the context in tokens that this
        was chosen for."""
        self.params = params
        self.past = past
        self.limit = limit
        self.window = Window([], first, 0)

    def fit(self, context: int) -> None:
        """Choose the window for a model with that context (tokens; 0: no limit): that of the turn before, moved on if
        the context is nearly full."""
        params = self.params
        if context != self.limit:  # another model, or a larger context: what left the window may fit again
            self.window, self.limit = Window([], 0, 0), context
        self.window = choose(
            params.system, self.past, params.prompt or "", first=self.window.first,
            limit=context or 1 << 62, max_tokens=params.max_tokens,
        )  # fmt: skip

    def shrink(self, overflow: ContextOverflow) -> None:
        """Leave out more turns. Raises the overflow itself where there is no turn left to leave out."""
        tokens, limit = overflow.facts.get("prompt_tokens"), overflow.facts.get("limit")
        if not any(turn.id >= self.window.first for turn in self.past) or not isinstance(tokens, int):
            raise overflow
        self.window = shorter(
            self.params.system, self.past, self.params.prompt or "", first=self.window.first,
            limit=limit // 2 if isinstance(limit, int) else 0, counted=tokens,
        )  # fmt: skip

    def request(self) -> GenerateParams:
        """What the worker is asked: messages in place of the session, every piece, and an error for an overflow."""
        return msgspec.structs.replace(
            self.params, prompt=None, system=None, messages=self.window.messages, session=None, mode=None, memory=None,
            replace=0, stream=True, timeout=None, context_overflow="error",
        )  # fmt: skip
