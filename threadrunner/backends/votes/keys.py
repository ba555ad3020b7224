"""What an answer says, as a text that is the same for answers that agree."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from threadrunner.api.chat import ToolCall
from threadrunner.api.errors import InvalidParams
from threadrunner.api.votes import Vote, field_steps
from threadrunner.engine.constraints.bounded import TooLong, bounded

PATTERN_SECONDS = 0.5
"""Of computing, for one answer: an expression such as `(a+)+$` may take for ever."""
_FENCE = re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL)
_ABSENT = object()


def key_of(vote: Vote, text: str, calls: Sequence[ToolCall] = ()) -> str | None:
    """None where it has none. Raises InvalidParams for a pattern that takes too long."""
    try:
        key = _key(vote, text, calls)
    except RecursionError:  # JSON that nests deeper than it can be walked
        return None
    return key and key.encode("utf-8", "replace").decode()  # an escape in JSON may be half of a pair


def _key(vote: Vote, text: str, calls: Sequence[ToolCall]) -> str | None:
    if vote.field is not None:
        return _of_field(text, field_steps(vote.field))
    if vote.pattern is not None:
        return _of_pattern(text, vote.pattern)
    if calls:
        return _written([[call.function.name, _arguments(str(call.function.arguments))] for call in calls])
    return evened(text).removesuffix(".").rstrip() or None


def evened(text: str) -> str:
    """Without differences that mean nothing: case, blanks."""
    return " ".join(text.split()).casefold()


def _arguments(text: str) -> Any:
    """Of a call; those of one that was broken off are no JSON."""
    value = _read(text)
    return text if value is _ABSENT else value


def _of_field(text: str, steps: list[str]) -> str | None:
    value = _read(text)
    if value is _ABSENT and (block := _FENCE.search(text)):
        value = _read(block[1])
    for step in steps:
        value = _part(value, step)
    return None if value is _ABSENT or value is None else _written(value)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _ABSENT


def _part(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step, _ABSENT)
    if isinstance(value, list) and step.isascii() and step.isdigit() and int(step[:9]) < len(value):
        return value[int(step[:9])]
    return _ABSENT


def _written(value: Any) -> str:
    """`3`, `3.0` and `"3"` are the same, and so are objects whose members are in another order."""
    value = _plain(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return evened(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, bool) or value is None:
        return value
    return str(int(value)) if isinstance(value, int) or value.is_integer() else repr(value)


def _of_pattern(text: str, pattern: str) -> str | None:
    """The last match: a model that thinks aloud says its answer at the end."""
    found = None
    try:
        with bounded(PATTERN_SECONDS):
            for match in re.finditer(pattern, text):
                found = match
    except TooLong:
        raise InvalidParams(
            f"`vote.pattern` takes more than {PATTERN_SECONDS:g} s on one answer; write one without nested repeats, "
            "such as (a+)+"
        ) from None
    if found is None:
        return None
    said = next((group for group in found.groups() if group is not None), None) if found.re.groups else found[0]
    return (evened(said) or None) if said is not None else None
