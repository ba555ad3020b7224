"""What readers of calls are told about tools, and whom they tell what they read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from threadrunner.engine.tools.source import Reading, TextSource


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function that may be called."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """A JSON Schema of an object; an empty one: any object."""
    description: str = ""

    @property
    def properties(self) -> Mapping[str, Any]:
        found = self.parameters.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def required(self) -> Sequence[str]:
        found = self.parameters.get("required")
        return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


class CallSink(Protocol):
    """Who hears of calls while they are read: `begin`, `arguments` any number of times, `end`."""

    @property
    def tools(self) -> Mapping[str, ToolSpec]: ...

    def begin(self, name: str) -> None:
        """Raises Malformed for a name that is no tool's."""

    def arguments(self, text: str) -> None:
        """The next part of the arguments' JSON."""

    def object(self, source: TextSource) -> Reading[None]:
        """Read the arguments, an object of JSON, and tell of it as it comes."""

    def end(self) -> None:
        """The call is whole. Raises Malformed where its arguments are no JSON object."""


class Members:
    """Tells a sink an object's members one by one, each as JSON."""

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._count = 0

    def add(self, name: str, value: str) -> None:
        """`value` is JSON."""
        self._sink.arguments(f"{', ' if self._count else '{'}{json.dumps(name, ensure_ascii=False)}: {value}")
        self._count += 1

    def end(self) -> None:
        self._sink.arguments("}" if self._count else "{}")
        self._sink.end()


def as_json(text: str, schema: object) -> str:
    """A value that was written as bare text, as JSON: by its schema's type a string as it stands, else what the text is
    as JSON; a string where it is none."""
    kinds = types_of(schema)
    if kinds != {"string"}:
        try:
            value = json.loads(text, parse_constant=no_constant)
        except (ValueError, RecursionError):
            pass
        else:
            if not isinstance(value, str) or "string" not in kinds:
                return text.strip()
    return json.dumps(text, ensure_ascii=False)


def no_constant(name: str) -> None:
    """For json.loads: NaN and Infinity are no JSON. Raises ValueError."""
    raise ValueError(name)


def types_of(schema: object) -> set[str]:
    """The types that a schema names or lists as alternatives; none: it does not say."""
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    kinds = (
        {kind}
        if isinstance(kind, str)
        else {k for k in kind if isinstance(k, str)}
        if isinstance(kind, list)
        else set()
    )
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            kinds = kinds.union(*map(types_of, schema[key]))
    if not kinds and isinstance(schema.get("enum"), list) and all(isinstance(v, str) for v in schema["enum"]):
        return {"string"}
    return kinds
