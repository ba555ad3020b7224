"""Several answers to one prompt, of which one is chosen: by a vote, or by the client."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from threadrunner.api.chat import ToolCall
from threadrunner.api.fields import FinishReason, ModelName, described

Agreement = Annotated[float, Meta(gt=0.0, le=1.0)]


class Vote(Struct, forbid_unknown_fields=True):
    """How one of `n` answers is chosen. Answers with the same key agree; without `field` and `pattern` the key is the
    whole text, apart from case, blanks and a full stop at its end."""

    by: Annotated[
        Literal["majority", "client"],
        described(
            "`client`: a notification `candidate` tells of each answer, and the method `choose` ends the request"
        ),
    ] = "majority"
    field: (
        Annotated[
            str,
            described("the key is this part of a JSON answer: `total`, `order.items.0`, `/a pointer`", max_length=1024),
        ]
        | None
    ) = None
    pattern: (
        Annotated[
            str,
            # Longer ones may take seconds to compile: each `[a-\uffff]` under `(?i)` takes 8 ms.
            described("the key is this regular expression's last match, or its first group's", max_length=256),
        ]
        | None
    ) = None
    early_stop: Annotated[bool, described("end the other answers once they cannot change the outcome")] = True
    least: (
        Annotated[Agreement, described("below this share of `n` for the leading key, no answer is chosen")] | None
    ) = None
    otherwise: (
        Annotated[ModelName, described("a model that answers instead, once, where none is chosen for that reason")]
        | None
    ) = None


class Voted(Struct, omit_defaults=True):
    """How the answer was chosen."""

    by: Literal["majority", "client"]
    n: Annotated[int, described("answers that were asked for")]
    answers: Annotated[int, described("of these, complete when it was decided")]
    chosen: Annotated[int | UnsetType, described("the answer's index; absent: `otherwise` has answered")] = UNSET
    agreement: Annotated[float | UnsetType, described("votes / answers, a confidence; of a majority")] = UNSET
    votes: Annotated[int | UnsetType, described("answers with the leading key")] = UNSET
    key: Annotated[str | UnsetType, described("the leading key")] = UNSET
    keys: Annotated[int | UnsetType, described("different keys")] = UNSET
    without_key: Annotated[int, described("answers that have no key, and so no vote")] = 0
    otherwise: Annotated[str | UnsetType, described("the model that answered since the agreement was too low")] = UNSET
    completion_tokens: Annotated[
        int | UnsetType,
        described("of the answers that were voted on, where `otherwise` has answered: `usage` is of that"),
    ] = UNSET


class CandidateNotice(Struct, omit_defaults=True):
    """One of several answers is complete; sent under `vote`."""

    request: int | str
    index: int
    text: str
    finish_reason: FinishReason
    key: Annotated[str | UnsetType, described("absent: it has none, and no vote")] = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET


class ChooseParams(Struct, forbid_unknown_fields=True):
    """Which answer of a request of this connection's is to be the result; the others are ended at once."""

    request: int | str
    candidate: Annotated[int, described("its index; null: none of them", ge=0)] | None


class ChoiceTaken(Struct):
    """The choice was taken; the request itself is answered next."""

    request: int | str


def vote_conflicts(vote: Vote, n: int, temperature: float | None, schema: dict[str, Any] | bool | None) -> str | None:
    """What is wrong with a vote over `n` answers, None where all is well."""
    if n < 2:
        return "`vote` chooses among several answers: give `n`, 2 to 8"
    if temperature == 0:
        return "`vote` needs answers that differ, and with `temperature` 0 all are the same: give one above 0, say 0.8"
    if vote.by == "client" and {vote.field, vote.pattern, vote.least, vote.otherwise} != {None}:
        return "`vote` by the client takes no `field`, `pattern`, `least` and `otherwise`: they are for a majority"
    if vote.otherwise is not None and vote.least is None:
        return "`vote.otherwise` is asked below an agreement: give `vote.least` too, say 0.6"
    return None if vote.field is None and vote.pattern is None else _key_problem(vote, schema)


def _key_problem(vote: Vote, schema: dict[str, Any] | bool | None) -> str | None:
    if vote.field is not None and vote.pattern is not None:
        return "give at most one of `vote.field` and `vote.pattern`"
    if vote.pattern is not None and (problem := _pattern_problem(vote.pattern)):
        return f"`vote.pattern` is no regular expression: {problem}"
    return None if vote.field is None else _field_problem(vote.field, schema)


def _pattern_problem(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error) or type(error).__name__
    return None


def field_steps(field: str) -> list[str]:
    """`order.items.0`, or the JSON pointer `/order/items/0`, as names and numbers."""
    if field.startswith("/"):
        return [step.replace("~1", "/").replace("~0", "~") for step in field[1:].split("/")]
    return field.split(".")


def _field_problem(field: str, schema: dict[str, Any] | bool | None) -> str | None:
    """Whether the schema has no such part, as far as `properties` alone say it: what `$ref`, `anyOf` and their like
    allow is left to the answers."""
    steps = field_steps(field)
    if not all(steps):
        return f"`vote.field` has an empty name in it: {field!r}"
    part: Any = schema
    for step in steps:
        if not isinstance(part, dict) or not part.keys().isdisjoint(_OTHER_WAYS) or part.get("additionalProperties"):
            return None
        properties = part.get("properties")
        if isinstance(properties, dict) and step not in properties:
            return f"`vote.field`: the schema has no {step!r} there; it has {', '.join(map(str, properties)) or 'none'}"
        part = properties[step] if isinstance(properties, dict) else part.get("items")
    return None


_OTHER_WAYS = {"$ref", "$dynamicRef", "anyOf", "oneOf", "allOf", "patternProperties", "if"}
