"""The same schema in words that llguidance knows."""

from __future__ import annotations

from typing import Any

_ONE = ("additionalProperties", "additionalItems", "items", "not", "if", "then", "else", "contains", "propertyNames")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose value is a schema, a list of schemas, an object of schemas."""
_NOTES = {"path", "file-path", "directory-path", "binary", "byte", "password", "json-string"}
_NOTES |= {"int32", "int64", "float", "double"}
"""Formats of Pydantic and OpenAPI that say what a value is for, not what it looks like."""


def normal(schema: Any) -> Any:
    """A copy that accepts the same, where it can be said; the rest is as it was. At most json_schema.MAX_DEPTH deep."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for key in _NAMED:
        if isinstance(inner := found.get(key), dict):
            found[key] = {name: normal(part) for name, part in inner.items()}
    for key in _SEVERAL:
        if isinstance(inner := found.get(key), list):
            found[key] = [normal(part) for part in inner]
    for key in _ONE:
        if isinstance(inner := found.get(key), dict):
            found[key] = normal(inner)
    if isinstance(form := found.get("format"), str) and form in _NOTES:
        del found["format"]
    if found.get("uniqueItems") is False:
        del found["uniqueItems"]
    _without_names(found)
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
    if names.keys() <= {"type", "pattern"}:
        schema["patternProperties"] = {names["pattern"]: values}
    elif names.keys() <= {"type", "enum"} and all(isinstance(name, str) for name in names["enum"]):
        schema["properties"] = dict.fromkeys(names["enum"], values)
    else:
        return
    schema["additionalProperties"] = False
    del schema["propertyNames"]
