"""JSON schema to GBNF, failing closed: what the converter would ignore is refused; an answer fits or there is none."""

from __future__ import annotations

import json
from typing import Any

from threadrunner.engine.llama.errors import BadGrammar
from threadrunner.engine.llama.library import json_schema_to_gbnf

MAX_DEPTH = 64
MAX_NODES = 2_000
MAX_GRAMMAR = 1 << 18
MAX_NESTING = 200
MAX_RULES = 8_000
MAX_REPETITIONS = 2_000

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


def to_grammar(schema: dict[str, Any] | bool) -> str:
    """GBNF for a schema; True is any JSON value. Raises BadGrammar."""
    if schema is False:
        raise BadGrammar("the schema `false` allows no answer")
    schema = ANY_JSON if schema is True else schema
    # the converter and llama.cpp recurse: depth and size are bounded before either sees the schema
    _check(schema, depth=0, budget=[MAX_NODES], root=schema)
    try:
        if not (set(schema) - _ANNOTATIONS - {"$defs", "definitions"}):
            return _any_value()
        grammar = _without_control(json_schema_to_gbnf(json.dumps(schema)))
    except (AssertionError, ValueError, KeyError, TypeError, RecursionError, AttributeError, IndexError) as error:
        raise BadGrammar(f"the schema cannot be enforced: {error or type(error).__name__}") from None
    check_grammar(grammar)
    return grammar


def _without_control(grammar: str) -> str:
    """The converter lets raw control characters into strings, which is no JSON: seen as a newline inside a name."""
    return grammar.replace(r'[^"\\]', r'[^"\\\x7F\x00-\x1F]')


def check_grammar(grammar: str) -> None:
    """Bounds on a grammar before native code sees it: its parser recurses at each bracket."""
    if not grammar.strip():
        raise BadGrammar("the grammar is empty")  # llama.cpp takes it for one that allows everything
    if grammar.count("::=") > MAX_RULES:
        raise BadGrammar(f"the grammar has more than {MAX_RULES} rules")
    if len(grammar) > MAX_GRAMMAR:
        raise BadGrammar(f"the grammar has {len(grammar)} characters, the limit is {MAX_GRAMMAR}")
    depth = deepest = 0
    quote = ""
    escaped = False
    for char in grammar:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif quote:
            if char == quote:
                quote = ""
        elif char in '"[#':
            quote = {'"': '"', "[": "]", "#": "\n"}[char]
        elif char == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif char == ")":
            depth -= 1
    if deepest > MAX_NESTING:
        raise BadGrammar(f"the grammar nests {deepest} deep, the limit is {MAX_NESTING}")


def _any_value() -> str:
    rules = _without_control(json_schema_to_gbnf('{"type": "object"}')).splitlines()
    return "\n".join([*(rule for rule in rules if not rule.startswith("root ")), "root ::= value"])


def _check(schema: Any, depth: int, budget: list[int], root: dict[str, Any]) -> None:
    budget[0] -= 1
    if budget[0] < 0:
        raise BadGrammar(f"the schema has more than {MAX_NODES} parts")
    if depth > MAX_DEPTH:
        raise BadGrammar(f"the schema nests deeper than {MAX_DEPTH}")
    if schema is True:
        raise BadGrammar("the schema `true` inside another is not supported: name a type")
    if not isinstance(schema, dict):
        raise BadGrammar(f"a schema is an object, not {type(schema).__name__}")
    keys = set(schema) - _ANNOTATIONS
    if depth == 0:
        for name in ("$defs", "definitions"):
            if name in keys:
                keys.discard(name)
                _each(schema[name], "an object", depth, budget, root)
    if "$ref" in keys:
        _only(keys, {"$ref"})
        _check_ref(schema["$ref"], root)
    elif "oneOf" in keys or "anyOf" in keys:
        key = "oneOf" if "oneOf" in keys else "anyOf"
        _only(keys, {key})
        if not isinstance(schema[key], list) or not schema[key]:
            raise BadGrammar(f"`{key}` needs a list of schemas")
        for part in schema[key]:
            _check(part, depth + 1, budget, root)
    elif "const" in keys:
        _only(keys, {"const", "type"})
        _check_literal(schema["const"])
    elif "enum" in keys:
        _only(keys, {"enum", "type"})
        if not isinstance(schema["enum"], list) or not schema["enum"]:
            raise BadGrammar("`enum` needs a list of values")
        for value in schema["enum"]:
            _check_literal(value)
    elif keys:
        _check_typed(schema, keys, depth, budget, root)


def _check_typed(schema: dict[str, Any], keys: set[str], depth: int, budget: list[int], root: dict[str, Any]) -> None:
    kind = schema.get("type")
    if isinstance(kind, list):
        _only(keys, {"type"})
        if not kind or not all(k in _BY_TYPE for k in kind):
            raise BadGrammar(f"unknown types {kind}")
        return
    if kind is None:
        kind = "object" if keys & _BY_TYPE["object"] else "array" if keys & _BY_TYPE["array"] else None
        if kind is None:
            raise BadGrammar(f"a schema with {_names(keys)} needs a type")
    if kind not in _BY_TYPE:
        raise BadGrammar(f"unknown type {kind!r}")
    _only(keys, {"type"} | _BY_TYPE[kind])
    if kind == "object":
        properties = schema.get("properties", {})
        _each(properties, "properties", depth, budget, root)
        required = schema.get("required", [])
        if not isinstance(required, list) or not set(map(str, required)) <= set(properties):
            raise BadGrammar("`required` names what `properties` does not have")
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            _check(extra, depth + 1, budget, root)
        elif extra not in (None, True, False):
            raise BadGrammar("`additionalProperties` is a schema, true or false")
    elif kind == "array":
        if "items" in keys and "prefixItems" in keys:
            raise BadGrammar("`items` beside `prefixItems` is not supported")
        if isinstance(schema.get("items"), bool):
            raise BadGrammar("`items` must be a schema")
        if "items" in keys:
            _check(schema["items"], depth + 1, budget, root)
        elif "prefixItems" in keys:
            _only(keys, {"type", "prefixItems"})
            if not isinstance(schema["prefixItems"], list) or not schema["prefixItems"]:
                raise BadGrammar("`prefixItems` needs a list of schemas")
            for part in schema["prefixItems"]:
                _check(part, depth + 1, budget, root)
        elif keys & {"minItems", "maxItems"}:
            raise BadGrammar("`minItems` and `maxItems` need `items`")
        _check_range(schema, "minItems", "maxItems")
    elif kind == "string":
        if len(keys & {"pattern", "format"}) + bool(keys & {"minLength", "maxLength"}) > 1:
            raise BadGrammar("a string may have a pattern, a format or a length, not several of them")
        if "format" in keys and schema["format"] not in _FORMATS:
            raise BadGrammar(f"unknown format {schema['format']!r}; known are {_names(_FORMATS)}")
        if "pattern" in keys and (not isinstance(schema["pattern"], str) or len(schema["pattern"]) > 1000):
            raise BadGrammar("`pattern` is a regular expression of at most 1,000 characters")
        _check_range(schema, "minLength", "maxLength")


def _each(schemas: Any, what: str, depth: int, budget: list[int], root: dict[str, Any]) -> None:
    if not isinstance(schemas, dict):
        raise BadGrammar(f"{what} must be an object of schemas")
    for part in schemas.values():
        _check(part, depth + 1, budget, root)


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
        raise BadGrammar(f"{ref!r}: definitions stand under $defs")
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
