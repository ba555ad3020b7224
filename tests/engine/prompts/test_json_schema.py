"""Schemas fail closed: what cannot be enforced is refused, before native code sees it."""

from __future__ import annotations

from typing import Any

import pytest

from threadrunner.engine.llama.errors import BadGrammar
from threadrunner.engine.prompts.json_schema import check_grammar, to_grammar


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"title": "anything"},
        {"type": "object"},
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False},
        {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3},
        {"enum": ["a", 1, None]},
        {"const": {"a": 1}},
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "string"}, {"type": "boolean"}]},
        {"type": "string", "pattern": "^[a-z]+$"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "minLength": 2, "maxLength": 4},
        {"$defs": {"p": {"type": "integer"}}, "type": "object", "properties": {"a": {"$ref": "#/$defs/p"}}},
        nested(30),
    ],
)
def test_a_grammar_for_what_can_be_enforced(schema: Any) -> None:
    assert "root ::=" in to_grammar(schema)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        nested(1000),
        {"type": "integer", "minimum": 3},
        {"type": "number", "multipleOf": 2},
        {"type": "object", "properties": {"a": {"type": "string"}}, "patternProperties": {"b": {}}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]},
        {"allOf": [{"type": "object"}]},
        {"not": {"type": "string"}},
        {"type": "string", "format": "email"},
        {"type": "string", "pattern": "^a$", "minLength": 3},
        {"type": "string", "pattern": "unanchored"},
        {"type": "array", "items": {"type": "string"}, "maxItems": 10**9},
        {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
        {"type": "nonsense"},
        {"type": {}},
        {"type": [["string"]]},
        {"type": ["string", "nonsense"]},
        {"type": "string", "format": []},
        {"minimum": 3},
        {"items": {"type": "string"}, "prefixItems": [{"type": "string"}]},
        {"type": "array", "items": True},
        {"prefixItems": []},
        {"type": "array", "minItems": 1},
        {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 2},
        {"type": "object", "additionalProperties": "no"},
        {"type": "string", "pattern": 3},
        {"anyOf": []},
        {"oneOf": [{"type": "string"}], "anyOf": [{"type": "string"}]},
        {"$defs": [], "type": "string"},
        {"enum": []},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"properties": {"a": True}},
        {"properties": [1]},
        {"type": "object", "properties": {str(i): {"type": "string"} for i in range(5000)}},
    ],
)
def test_what_cannot_be_enforced_is_refused(schema: Any) -> None:
    with pytest.raises(BadGrammar):
        to_grammar(schema)


@pytest.mark.parametrize("grammar", ["root ::= " + "(" * 1000 + '"a"' + ")" * 1000, "x" * (1 << 19)])
def test_absurd_grammars_are_refused(grammar: str) -> None:
    with pytest.raises(BadGrammar):
        check_grammar(grammar)


def test_brackets_in_strings_and_classes_do_not_count() -> None:
    check_grammar('root ::= "' + "(" * 500 + '" [(' + "(" * 500 + "]")


@pytest.mark.parametrize("made", [{"type": "string", "maxLength": 3}, {"type": "object"}, True])
def test_strings_hold_no_raw_control_characters(made: dict[str, object] | bool) -> None:
    grammar = to_grammar(made)
    assert r"\x00-\x1F" in grammar
    assert r'[^"\\]' not in grammar
