"""What the turns of a conversation are as messages to the model, and which of its calls are open: pure.

Always rendered in the same way, so that what the engine has cached of a conversation is a prefix of what comes next.
The one exception is thinking, see `thinking_from`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from threadrunner.api.chat import ImagePart, Message, TextPart, ToolCall, said_by_user
from threadrunner.api.conversations import ToolResult

NOT_GIVEN = "(no result: the user went on without this call)"
"""The result of a call that a prompt has followed: templates and models need one for each call."""

MESSAGE_CHARS = 16
"""About how many characters the template's markup around a message is worth."""
PICTURE_CHARS = 1000
"""And a picture: most encoders make 64 to 576 tokens of one."""

Pictures = Sequence[ImagePart | TextPart]
"""A word for one that the model is not shown any more."""


class PastTurn(NamedTuple):
    """A turn before this one, as far as the model needs it."""

    id: int
    prompt: str
    answer: str | None
    state: str
    tokens: int | None = None
    """Prompt and answer together, without what was thought: of the whole conversation up to here, as the model
    counted."""
    calls: Sequence[ToolCall] = ()
    """Those of the answer that can be made, see `complete`."""
    results: Sequence[ToolResult] = ()
    """Of the calls of the turns before."""
    reasoning: str | None = None
    pictures: Pictures = ()
    """Before the prompt."""


class Asked(NamedTuple):
    """What is new: the turn that is to be answered, and what stands before all turns."""

    prompt: str
    """Empty where there are only results."""
    results: Sequence[ToolResult] = ()
    system: str | None = None
    fixed_chars: int = 0
    """Characters of what the template adds in any case: the tools."""
    pictures: Pictures = ()


def answered(turn: PastTurn) -> bool:
    return bool(turn.answer or turn.calls) and turn.state in ("done", "stopped")


def complete(call: ToolCall) -> bool:
    """Whether the call can be made: where the answer was cut by its token limit, its last call's arguments may be."""
    arguments = call.function.arguments
    try:
        return isinstance(arguments if isinstance(arguments, dict) else json.loads(arguments or "{}"), dict)
    except (ValueError, RecursionError):
        return False


def messages(turns: Sequence[PastTurn], asked: Asked) -> list[Message]:
    """The conversation, with what is asked as its newest message.

    A prompt whose answer was lost is part of what the user says next: a template needs user and assistant in turn, and
    the words must not be lost with the answer. A failed or empty answer leaves with its prompt: that error was told.
    A result that was given once is known, whatever became of the answer to it.
    """
    said = [Message("system", asked.system)] if asked.system else []
    thinking = thinking_from(turns, asked)
    unanswered: list[str] = []
    pictures: list[ImagePart | TextPart] = []
    calls: Sequence[ToolCall] = ()
    known: dict[str, str] = {}
    for turn in turns:
        known |= _contents(turn.results)
        if answered(turn):
            said += _to_the_model(calls, known, [*unanswered, turn.prompt], [*pictures, *turn.pictures])
            reasoning = turn.reasoning if thinking is not None and turn.id >= thinking else None
            said.append(Message("assistant", turn.answer or None, list(turn.calls), reasoning=reasoning))
            unanswered, pictures, calls, known = [], [], turn.calls, {}
        elif turn.state == "lost" and turn.prompt and turn.prompt not in unanswered:
            unanswered.append(turn.prompt)
            pictures += turn.pictures if turn.prompt != asked.prompt else ()
    known |= _contents(asked.results)
    prompts = [*(text for text in unanswered if text != asked.prompt), asked.prompt]
    return said + _to_the_model(calls, known, prompts, [*pictures, *asked.pictures])


def _contents(results: Sequence[ToolResult]) -> dict[str, str]:
    return {result.tool_call_id: result.content for result in results}


def _to_the_model(
    calls: Sequence[ToolCall], known: dict[str, str], prompts: list[str], pictures: Pictures
) -> list[Message]:
    """The results of `calls`, as far as they are known, and what the user says."""
    results = [Message("tool", known.get(call.id, NOT_GIVEN), tool_call_id=call.id) for call in calls]
    text = "\n\n".join(filter(None, prompts if calls else [*known.values(), *prompts]))
    return [*results, said_by_user(text, pictures)] if text or pictures or not calls else list(results)


def thinking_from(turns: Sequence[PastTurn], asked: Asked) -> int | None:
    """The first turn whose thinking the model is shown again, None where it is no turn's.

    Only while it works on one task, that is, from the user's last words on and as long as nothing but results comes.
    The makers of thinking models train them so (Qwen 3, DeepSeek V3.2, gpt-oss): the plan behind a call is needed to
    use its result; older thoughts mislead, and cost context. Their templates leave out older thinking themselves, this
    holds for those that show whatever they are given.
    """
    if asked.prompt or not asked.results:
        return None
    first = None
    for turn in reversed(turns):
        if answered(turn):
            first = turn.id
            if turn.prompt:
                break
    return first


def rounds(turns: Sequence[PastTurn]) -> list[list[PastTurn]]:
    """The turns in groups that enter and leave the window as a whole: results belong to the turn with their calls."""
    groups: list[list[PastTurn]] = []
    for turn in turns:
        if turn.results and groups:
            groups[-1].append(turn)
        else:
            groups.append([turn])
    return groups


def open_calls(turns: Sequence[PastTurn]) -> Sequence[ToolCall]:
    """The calls that wait for a result: those of the last answer. A result to which there was no answer can be given
    again."""
    return next((turn.calls for turn in reversed(turns) if answered(turn)), ())


def results_conflict(waiting: Sequence[ToolCall], results: Sequence[ToolResult], prompt: str) -> str | None:
    """Why these cannot be the results of the calls that wait, as an InvalidParams would put it. A prompt beside them
    goes on without those that are missing."""
    names = {call.id: call.function.name for call in waiting}
    given = [result.tool_call_id for result in results]
    if not names:
        return f"no call waits for a result in this conversation, so {given[0]!r} cannot have one"
    listed = ", ".join(f"{id} ({name})" for id, name in names.items())
    for id in given:
        if id not in names:
            return f"no call with the id {id!r} waits for a result; these do: {listed}"
        if given.count(id) > 1:
            return f"there are two results for the call {id!r}"
    missing = [id for id in names if id not in given]
    if missing and not prompt:
        return f"give the results of all calls at once; {', '.join(missing)} has none"
    return None


def unanswered_calls(turns: Sequence[PastTurn], asked: Asked) -> int:
    """How many calls of the last answer have no result, because a prompt goes on without."""
    known = {result.tool_call_id for result in asked.results}
    for turn in reversed(turns):
        if answered(turn):
            return sum(call.id not in known for call in turn.calls)
        known |= {result.tool_call_id for result in turn.results}
    return 0


def lost_answers(turns: Sequence[PastTurn]) -> int:
    """How many turns right before this one have lost their answer."""
    count = 0
    for turn in reversed(turns):
        if turn.state != "lost":
            break
        count += 1
    return count


def chars(turns: Sequence[PastTurn], asked: Asked) -> int:
    """Of the messages and of what stands before them."""
    return asked.fixed_chars + sum(_chars(message) for message in messages(turns, asked))


def _chars(message: Message) -> int:
    calls = sum(len(call.function.name) + len(call.function.arguments) + MESSAGE_CHARS for call in message.tool_calls)
    texts = len(message.text) + len(message.reasoning or "")
    return texts + calls + MESSAGE_CHARS + PICTURE_CHARS * len(message.images)
