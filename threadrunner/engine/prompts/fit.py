"""Which part of a long conversation fits into a context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from threadrunner.engine.errors import PromptTooLong
from threadrunner.engine.prompts.chat import Rendered
from threadrunner.engine.prompts.conversation import Message


def fit(
    messages: Sequence[Message], build: Callable[[Sequence[Message]], Rendered], limit: int
) -> tuple[Rendered, int]:
    """The prompt with as few of the oldest whole turns left out as make it shorter than `limit` tokens, and how many
    messages that were. The system prompt and the last turn always stay. Raises PromptTooLong when they alone do not
    fit."""
    system = [m for m in messages[:1] if m["role"] in ("system", "developer")]
    turns = list(messages[len(system) :])
    # cut only before a user's message: an answer without its question is not a turn
    cuts = [i for i, m in enumerate(turns) if i == 0 or (m["role"] == "user")]
    low, high = 0, len(cuts) - 1
    shortest = build([*system, *turns[cuts[high] :]])
    if len(shortest.tokens) >= limit:
        raise PromptTooLong(len(shortest.tokens), limit)
    best, dropped = shortest, cuts[high]
    while low < high:
        middle = (low + high) // 2
        rendered = build([*system, *turns[cuts[middle] :]])
        if len(rendered.tokens) < limit:
            best, dropped, high = rendered, cuts[middle], middle
        else:
            low = middle + 1
    return best, dropped
