"""Calls, their results and tools, as the columns of the file hold them: JSON in the API's shapes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from threadrunner.api.chat import Tool, ToolCall
from threadrunner.api.conversations import ToolResult


class Parts(NamedTuple):
    """What a turn has beside its prompt and the text of its answer."""

    results: Sequence[ToolResult] = ()
    """It begins with them."""
    calls: Sequence[ToolCall] = ()
    """The answer ends with them; the last one may be broken off."""

    def columns(self) -> dict[str, str | None]:
        for call in self.calls:
            if isinstance(call.function.arguments, dict):
                call.function.arguments = json.dumps(call.function.arguments, ensure_ascii=False)
        return {
            "results": _to_json(self.results),
            "calls": _to_json(self.calls),
            "tool_words": "\n".join(self._words()) or None,
        }

    def _words(self) -> Iterator[str]:
        """For the search: their text, without the JSON around it."""
        for result in self.results:
            yield result.content
        for call in self.calls:
            yield call.function.name
            try:
                yield from _texts(json.loads(str(call.function.arguments)))
            except (ValueError, RecursionError):  # broken off
                yield str(call.function.arguments)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)


def parts_of(row: sqlite3.Row) -> Parts:
    return Parts(
        msgspec.json.decode(row["results"], type=list[ToolResult]) if row["results"] else [],
        msgspec.json.decode(row["calls"], type=list[ToolCall]) if row["calls"] else [],
    )


def tools_of(row: sqlite3.Row) -> list[Tool]:
    """Those of a conversation's row."""
    return msgspec.json.decode(row["tools"], type=list[Tool]) if row["tools"] else []


def tools_to_json(tools: Sequence[Tool]) -> str | None:
    return _to_json(tools)


def _to_json(items: Sequence[msgspec.Struct]) -> str | None:
    """None where there are none."""
    return msgspec.json.encode(items).decode() if items else None
