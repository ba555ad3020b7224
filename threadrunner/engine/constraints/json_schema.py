"""JSON Schema to llguidance's grammar, failing closed: what it cannot hold is refused, with the keyword's place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from threadrunner.engine.constraints.limits import limits
from threadrunner.engine.constraints.normal import closed, normal
from threadrunner.engine.constraints.stack import deeply
from threadrunner.engine.llama.errors import BadGrammar

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

MAX_DEPTH = 64
"""Objects and lists of a schema inside each other. llguidance stops at 128."""
MAX_PARTS = 4_000
"""Objects in all. 5,000 optional properties took 2.8 s to compile and 0.25 s for one mask."""
SHALLOW = 500
"""Parts that native code can follow on a usual stack, even where each leads to the next."""
MAX_PLACES = 200
"""Parts that are tried by themselves to find out where an error is."""

WHITE = " "
"""What may stand between two parts of JSON. Any number of blanks would do, but a small model that has begun with them
goes on with them until the context is full."""
_OPTIONS: JsonCompileOptions = {
    # all of them, since a schema could set the rest itself, under `x-guidance`
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_flexible": True,
    "whitespace_pattern": WHITE,
    "coerce_one_of": False,
    "json_allowed_escapes": None,
    "json_allow_general_unicode_escapes": False,
}
_SHORT_ESCAPES = 'nrbtf\\"'
"""Without `\\uXXXX`, so that each text has one form."""
_UNKNOWN_KEYS = re.compile(r"Unimplemented keys: (\[.*\])")
_KEYWORD_OF = {
    "regex parse error": "pattern",
    "lookarounds not supported": "pattern",
    "Unknown format": "format",
    "Invalid type": "type",
    "type must be": "type",
    "oneOf": "oneOf",
    "Unsatisfiable schema: anyOf": "anyOf",
    "Pointer": "$ref",
    "Resource": "$ref",
    "properties must": "properties",
    "invalid multiple": "multipleOf",
}
"""What llguidance says of a schema -> the keyword that it is about."""


def to_grammar(schema: dict[str, Any] | bool, *, lenient: bool = False) -> tuple[str, bool]:
    """llguidance's grammar for a schema (True is any JSON value), and whether a large stack is needed to read it.
    `lenient` leaves out what it cannot hold. Raises BadGrammar."""
    if schema is False:
        raise BadGrammar("the schema `false` allows no answer")
    written = {} if schema is True else schema
    deep = _parts_of(written) > SHALLOW
    whole = normal(written) if lenient else closed(normal(written))  # a check may want properties of its own

    def checked() -> str:
        grammar = _grammar(whole, lenient)
        if error := problem(grammar):
            place = _place(whole, error, lenient)
            said = _first_line(error)
            advice = 'leave that out, or ask for `json_schema_check` "after", which checks the finished answer'
            raise BadGrammar(f"the schema cannot be held, at {place}: {said}; {advice}")
        return grammar

    return (deeply(checked) if deep else checked()), deep


def _parts_of(schema: dict[str, Any]) -> int:
    """How many objects it has. Raises BadGrammar for too many, and too deep ones."""
    parts = 0
    waiting: list[tuple[Any, int]] = [(schema, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise BadGrammar(f"the schema nests deeper than {MAX_DEPTH}")
        parts += isinstance(value, dict)
        if parts > MAX_PARTS:
            raise BadGrammar(f"the schema has more than {MAX_PARTS} parts")
        inner = value.values() if isinstance(value, dict) else value
        waiting.extend((item, depth + 1) for item in inner if isinstance(item, (dict, list)))
    return parts


def _grammar(schema: dict[str, Any], lenient: bool) -> str:
    from llguidance import LLMatcher

    options: JsonCompileOptions = {**_OPTIONS, "lenient": lenient}
    if any(map(_has_other_names, [schema, *(part for _, part in _parts(schema, "#"))])):
        options["json_allowed_escapes"] = _SHORT_ESCAPES
    try:
        return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)
    except (ValueError, UnicodeError) as error:
        raise BadGrammar(f"not a schema: {error}") from None


def _has_other_names(part: dict[str, Any]) -> bool:
    """Whether an object may have properties beside those that are named: with `\\u0061` for a, one of these passed as
    one of the others, with their values."""
    named = part.get("properties") or part.get("patternProperties")
    return bool(named) and part.get("additionalProperties") is not False


def problem(grammar: str) -> str:
    """What llguidance has against it, "" for nothing: known before a vocabulary is."""
    from llguidance import LLMatcher

    return LLMatcher.validate_grammar(grammar, limits=limits())


def _place(schema: dict[str, Any], error: str, lenient: bool) -> str:
    """A JSON pointer to the smallest part that has this error by itself, and to the keyword in it where it is known."""
    definitions: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    best, path = schema, "#"
    for tried, (inner_path, part) in enumerate(_parts(schema, "#")):
        if tried == MAX_PLACES:
            break
        if len(inner_path) > len(path) and problem(_grammar({**definitions, **part}, lenient)) == error:
            best, path = part, inner_path
    return path + _keyword(best, error)


def _keyword(part: dict[str, Any], error: str) -> str:
    if unknown := _UNKNOWN_KEYS.search(error):
        keys = json.loads(unknown.group(1))
        return f"/{keys[0]}" if keys else ""
    found = next((keyword for text, keyword in _KEYWORD_OF.items() if text in error and keyword in part), None)
    return f"/{found}" if found else ""


def _parts(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas within one, each with its pointer."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        place = f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
        if isinstance(inner, dict):
            yield place, inner
        yield from _parts(inner, place)


def _first_line(error: str) -> str:
    """A regular expression's error draws an arrow under it; its last line is the reason."""
    lines = error.strip().splitlines()
    return lines[-1].removeprefix("error: ") if "parse error" in lines[0] else lines[0]
