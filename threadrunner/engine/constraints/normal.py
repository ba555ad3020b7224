"""The same schema in words that llguidance knows, and holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from threadrunner.engine.constraints.patterns import without_nul

_ONE = ("additionalProperties", "additionalItems", "items", "not", "if", "then", "else", "contains", "propertyNames")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose value is a schema, a list of schemas, an object of schemas."""
_OTHERS = {"additionalProperties", "patternProperties", "propertyNames", "unevaluatedProperties", "minProperties"}
_NOTES = {"path", "file-path", "directory-path", "binary", "byte", "password", "json-string"}
_NOTES |= {"int32", "int64", "float", "double"}
"""Formats of Pydantic and OpenAPI that say what a value is for, not what it looks like."""


def closed(schema: Any) -> Any:
    """A copy in which objects have the properties that are written down, and no others, where nothing is said of
    others: a small model goes on to invent them until its tokens are spent. What fits it also fits the schema.

    Where properties come together from several places (`allOf`, or `anyOf` beside `properties`), it is as it was.
    """
    return schema if _mixes(schema) else _closed(schema)


def _mixes(value: Any) -> bool:
    if isinstance(value, dict):
        beside = isinstance(value.get("properties"), dict) and any(key in value for key in ("anyOf", "oneOf", "$ref"))
        return "allOf" in value or beside or any(map(_mixes, value.values()))
    return isinstance(value, list) and any(map(_mixes, value))


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    found = _within(schema, _closed)
    properties = found.get("properties")
    if isinstance(properties, dict) and properties and not _OTHERS & found.keys():
        required = found.get("required", [])
        if isinstance(required, list) and all(isinstance(name, str) and name in properties for name in required):
            found["additionalProperties"] = False
    return found


def normal(schema: Any) -> Any:
    """A copy that accepts the same, where it can be said; the rest is as it was. At most json_schema.MAX_DEPTH deep."""
    if not isinstance(schema, dict):
        return schema
    found = _within(schema, normal)
    if isinstance(form := found.get("format"), str) and form in _NOTES:
        del found["format"]
    if found.get("uniqueItems") is False:
        del found["uniqueItems"]
    _without_names(found)
    if isinstance(pattern := found.get("pattern"), str):
        found["pattern"] = without_nul(pattern)
    if isinstance(named := found.get("patternProperties"), dict):
        found["patternProperties"] = {without_nul(pattern): part for pattern, part in named.items()}
    return found


def _within(schema: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """A copy whose schemas are changed, one level down."""
    found = dict(schema)
    for key in _NAMED:
        if isinstance(inner := found.get(key), dict):
            found[key] = {name: change(part) for name, part in inner.items()}
    for key in _SEVERAL:
        if isinstance(inner := found.get(key), list):
            found[key] = [change(part) for part in inner]
    for key in _ONE:
        if isinstance(inner := found.get(key), dict):
            found[key] = change(inner)
    return found


def _without_names(schema: dict[str, Any]) -> None:
    """`propertyNames`, as zod's records have it: any name, one of a list, or a pattern."""
    names = schema.get("propertyNames")
    if names is True or (
        isinstance(names, dict) and names.keys() <= {"type"} and names.get("type", "string") == "string"
    ):
        del schema["propertyNames"]
        return
    if not isinstance(names, dict) or schema.get("properties") or schema.get("patternProperties"):
        return
    kind, values = names.get("type", "string"), schema.get("additionalProperties", True)
    if kind != "string":
        return
    pattern, listed = names.get("pattern"), names.get("enum")  # of any type: the schema was not checked yet
    if names.keys() <= {"type", "pattern"} and isinstance(pattern, str):
        schema["patternProperties"] = {pattern: values}
    elif names.keys() <= {"type", "enum"} and isinstance(listed, list) and all(isinstance(one, str) for one in listed):
        schema["properties"] = dict.fromkeys(listed, values)
    else:
        return
    schema["additionalProperties"] = False
    del schema["propertyNames"]
