"""JSON schema to GBNF, failing closed: what the converter would ignore is refused; an answer fits or there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

from threadrunner.engine.llama.errors import BadGrammar
from threadrunner.engine.llama.library import json_schema_to_gbnf

MAX_DEPTH = 64
"""Schemas inside each other."""
MAX_NODES = 2_000
"""Schemas in all."""
MAX_GRAMMAR = 1 << 18
"""Characters."""
MAX_NESTING = 200
"""Brackets inside each other."""
MAX_RULES = 8_000
MAX_REPETITIONS = 2_000
"""Of an array's items, or a string's characters."""

ANY_JSON: dict[str, Any] = {}

_ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
_ANNOTATIONS |= {"$schema", "$id", "$comment"}
_BY_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "integer": set[str](),
    "number": set[str](),
    "boolean": set[str](),
    "null": set[str](),
}
_FORMATS = {"date", "time", "date-time", "uuid"}
_DEFINITIONS = {"$defs", "definitions"}
_QUOTES = {'"': '"', "[": "]", "#": "\n"}
"""What opens a part of a grammar where brackets do not count -> what closes it."""


def to_grammar(schema: dict[str, Any] | bool) -> str:
    """GBNF for a schema; True is any JSON value. Raises BadGrammar."""
    if schema is False:
        raise BadGrammar("the schema `false` allows no answer")
    schema = ANY_JSON if schema is True else schema
    try:
        # the converter and llama.cpp recurse: depth and size are bounded before either sees the schema
        _Check(schema).schema(schema, depth=0)
        if not (set(schema) - _ANNOTATIONS - _DEFINITIONS):
            return _any_value()
        grammar = _without_control(json_schema_to_gbnf(json.dumps(schema)))
    except (AssertionError, ValueError, KeyError, TypeError, RecursionError, AttributeError, IndexError) as error:
        raise BadGrammar(f"the schema cannot be enforced: {error or type(error).__name__}") from None
    check_grammar(grammar)
    return grammar


def _without_control(grammar: str) -> str:
    """The converter lets raw control characters into strings, which is not JSON: seen as a newline inside a name."""
    return grammar.replace(r'[^"\\]', r'[^"\\\x7F\x00-\x1F]')


def check_grammar(grammar: str) -> None:
    """Bounds on a grammar before native code sees it: its parser recurses at each bracket. Raises BadGrammar."""
    if not grammar.strip():
        raise BadGrammar("the grammar is empty")  # llama.cpp takes it for one that allows everything
    if grammar.count("::=") > MAX_RULES:
        raise BadGrammar(f"the grammar has more than {MAX_RULES} rules")
    if len(grammar) > MAX_GRAMMAR:
        raise BadGrammar(f"the grammar has {len(grammar)} characters, the limit is {MAX_GRAMMAR}")
    if (deepest := _nesting(grammar)) > MAX_NESTING:
        raise BadGrammar(f"the grammar nests {deepest} deep, the limit is {MAX_NESTING}")


def _nesting(grammar: str) -> int:
    """How deep its brackets nest; those in strings, classes and comments do not count."""
    depth = deepest = 0
    closes = ""
    escaped = False
    for char in grammar:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif closes:
            closes = "" if char == closes else closes
        elif char in _QUOTES:
            closes = _QUOTES[char]
        elif char in "()":
            depth += 1 if char == "(" else -1
            deepest = max(deepest, depth)
    return deepest


def _any_value() -> str:
    rules = _without_control(json_schema_to_gbnf('{"type": "object"}')).splitlines()
    return "\n".join([*(rule for rule in rules if not rule.startswith("root ")), "root ::= value"])


_Rule = Callable[["_Check", dict[str, Any], set[str], int], None]
"""A check of one kind of schema: the schema, its keys without annotations, its depth."""


class _Check:
    """One walk over a schema; each method raises BadGrammar for what cannot be enforced."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._parts = 0

    def schema(self, schema: Any, depth: int) -> None:
        self._parts += 1
        if self._parts > MAX_NODES:
            raise BadGrammar(f"the schema has more than {MAX_NODES} parts")
        if depth > MAX_DEPTH:
            raise BadGrammar(f"the schema nests deeper than {MAX_DEPTH}")
        if schema is True:
            raise BadGrammar("the schema `true` inside another is not supported: name a type")
        if not isinstance(schema, dict):
            raise BadGrammar(f"a schema is an object, not {type(schema).__name__}")
        keys = set(schema) - _ANNOTATIONS
        if depth == 0:
            for name in _DEFINITIONS & keys:
                keys.discard(name)
                self._members(schema[name], "an object", depth)
        for form, check in self._FORMS.items():
            if form in keys:
                check(self, schema, keys, depth)
                return
        if keys:
            self._typed(schema, keys, depth)

    # a form: what a schema is instead of typed

    def _ref(self, schema: dict[str, Any], keys: set[str], depth: int) -> None:
        _only(keys, {"$ref"})
        _check_ref(schema["$ref"], self._root)

    def _one_of(self, schema: dict[str, Any], keys: set[str], depth: int) -> None:
        _only(keys, {"oneOf"})
        self._list(schema, "oneOf", depth)

    def _any_of(self, schema: dict[str, Any], keys: set[str], depth: int) -> None:
        _only(keys, {"anyOf"})
        self._list(schema, "anyOf", depth)

    def _const(self, schema: dict[str, Any], keys: set[str], depth: int) -> None:
        _only(keys, {"const", "type"})
        _check_literal(schema["const"])

    def _enum(self, schema: dict[str, Any], keys: set[str], depth: int) -> None:
        _only(keys, {"enum", "type"})
        for value in _filled_list(schema, "enum", "values"):
            _check_literal(value)

    _FORMS: ClassVar[dict[str, _Rule]] = {
        "$ref": _ref,
        "oneOf": _one_of,
        "anyOf": _any_of,
        "const": _const,
        "enum": _enum,
    }

    # a type

    def _typed(self, schema: dict[str, Any], keys: set[str], depth: int) -> None:
        kind = schema.get("type")
        if isinstance(kind, list):
            _only(keys, {"type"})
            if not kind or not all(isinstance(k, str) and k in _BY_TYPE for k in kind):
                raise BadGrammar(f"unknown types {kind}")
            return
        if kind is None:
            kind = _implied_type(keys)
        if not isinstance(kind, str) or kind not in _BY_TYPE:
            raise BadGrammar(f"unknown type {kind!r}")
        _only(keys, {"type"} | _BY_TYPE[kind])
        if check := self._TYPES.get(kind):
            check(self, schema, keys, depth)

    def _object(self, schema: dict[str, Any], keys: set[str], depth: int) -> None:
        properties = schema.get("properties", {})
        self._members(properties, "properties", depth)
        required = schema.get("required", [])
        if not isinstance(required, list) or not set(map(str, required)) <= set(properties):
            raise BadGrammar("`required` names what `properties` does not have")
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            self.schema(extra, depth + 1)
        elif extra not in (None, True, False):
            raise BadGrammar("`additionalProperties` is a schema, true or false")

    def _array(self, schema: dict[str, Any], keys: set[str], depth: int) -> None:
        if {"items", "prefixItems"} <= keys:
            raise BadGrammar("`items` beside `prefixItems` is not supported")
        if isinstance(schema.get("items"), bool):
            raise BadGrammar("`items` must be a schema")
        if "items" in keys:
            self.schema(schema["items"], depth + 1)
        elif "prefixItems" in keys:
            _only(keys, {"type", "prefixItems"})
            self._list(schema, "prefixItems", depth)
        elif keys & {"minItems", "maxItems"}:
            raise BadGrammar("`minItems` and `maxItems` need `items`")
        _check_range(schema, "minItems", "maxItems")

    def _string(self, schema: dict[str, Any], keys: set[str], depth: int) -> None:
        if len(keys & {"pattern", "format"}) + bool(keys & {"minLength", "maxLength"}) > 1:
            raise BadGrammar("a string may have a pattern, a format or a length, not several of them")
        if "format" in keys and not (isinstance(schema["format"], str) and schema["format"] in _FORMATS):
            raise BadGrammar(f"unknown format {schema['format']!r}; known are {_names(_FORMATS)}")
        if "pattern" in keys and (not isinstance(schema["pattern"], str) or len(schema["pattern"]) > 1000):
            raise BadGrammar("`pattern` is a regular expression of at most 1,000 characters")
        _check_range(schema, "minLength", "maxLength")

    _TYPES: ClassVar[dict[str, _Rule]] = {"object": _object, "array": _array, "string": _string}

    # schemas inside it

    def _members(self, schemas: Any, what: str, depth: int) -> None:
        if not isinstance(schemas, dict):
            raise BadGrammar(f"{what} must be an object of schemas")
        for part in schemas.values():
            self.schema(part, depth + 1)

    def _list(self, schema: dict[str, Any], key: str, depth: int) -> None:
        for part in _filled_list(schema, key, "schemas"):
            self.schema(part, depth + 1)


def _filled_list(schema: dict[str, Any], key: str, of_what: str) -> list[Any]:
    found = schema[key]
    if not isinstance(found, list) or not found:
        raise BadGrammar(f"`{key}` needs a list of {of_what}")
    return found


def _implied_type(keys: set[str]) -> str:
    """The type of a schema that names none."""
    for kind in ("object", "array"):
        if keys & _BY_TYPE[kind]:
            return kind
    raise BadGrammar(f"a schema with {_names(keys)} needs a type")


def _check_range(schema: dict[str, Any], low: str, high: str) -> None:
    for key in (low, high):
        value = schema.get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_REPETITIONS:
            raise BadGrammar(f"`{key}` must be a whole number up to {MAX_REPETITIONS}")
    if high in schema and schema[high] < schema.get(low, 0):
        raise BadGrammar(f"`{high}` is less than `{low}`")


def _check_ref(ref: Any, root: dict[str, Any]) -> None:
    if not isinstance(ref, str) or not ref.startswith("#/"):
        raise BadGrammar(f"only references into the schema itself are followed, not {ref!r}")
    target: Any = root
    for part in ref[2:].split("/"):
        if not isinstance(target, dict) or part not in target:
            raise BadGrammar(f"{ref!r} leads nowhere")
        target = target[part]
    if not ref.startswith(("#/$defs/", "#/definitions/")):
        raise BadGrammar(f"{ref!r}: definitions must be under $defs")
    if isinstance(target, dict) and "$ref" in target:
        raise BadGrammar(f"{ref!r} is only another reference")


def _check_literal(value: Any) -> None:
    if len(json.dumps(value)) > 10_000:
        raise BadGrammar("a constant has more than 10,000 characters")


def _only(keys: set[str], known: set[str]) -> None:
    if keys - known:
        raise BadGrammar(f"the schema's {_names(keys - known)} cannot be enforced")


def _names(keys: set[str]) -> str:
    return ", ".join(f"`{key}`" for key in sorted(keys))
