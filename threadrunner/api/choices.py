"""From one of several answers to a result, and back."""

from __future__ import annotations

import msgspec

from threadrunner.api.generation import Choice, Generated


def as_answer(result: Generated, choice: Choice) -> Generated:
    """The result with this choice as its answer."""
    return msgspec.structs.replace(
        result,
        text=choice.text,
        finish_reason=choice.finish_reason,
        logprobs=choice.logprobs,
        tool_calls=choice.tool_calls,
        reasoning=choice.reasoning,
        stop=choice.stop,
    )


def as_choice(result: Generated, index: int) -> Choice:
    """The answer of a result as one of several."""
    return Choice(
        result.text, result.finish_reason, result.logprobs, result.tool_calls, result.reasoning, result.stop, index
    )
