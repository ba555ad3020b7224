"""Finished answers against all of their schema."""

from __future__ import annotations

import threading

import pytest

from threadrunner.engine.constraints.check import SchemaCheck
from threadrunner.engine.llama.errors import BadGrammar

UNIQUE = {"type": "array", "uniqueItems": True}


def test_what_fits_and_what_does_not() -> None:
    check = SchemaCheck({"type": "object", "properties": {"a": UNIQUE}, "not": {"required": ["b"]}})
    assert check.problem('{"a": [1, 2]}') is None
    assert "at #/a" in str(check.problem('{"a": [1, 1]}'))
    assert "at #:" in str(check.problem('{"a": [], "b": 1}'))
    assert "no JSON" in str(check.problem('{"a": ['))


def test_an_older_drafts_tuples() -> None:
    check = SchemaCheck({"type": "array", "items": [{"type": "number"}, {"type": "string"}]})
    assert check.problem('[1, "a"]') is None
    assert "at #/0" in str(check.problem('["a", 1]'))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"properties": 3},
        {"minLength": -1},
        {"$schema": 5},
        {"$schema": []},
        {"$schema": "http://["},
    ],
)
def test_what_is_no_schema(schema: dict[str, object]) -> None:
    with pytest.raises(BadGrammar, match="not a schema, at #"):
        SchemaCheck(schema)


def test_a_reference_into_what_is_no_object() -> None:
    with pytest.raises(BadGrammar, match="cannot be checked"):
        SchemaCheck({"$ref": "#/$defs/a", "$defs": []}).problem("1")


def test_an_answer_that_nests_too_deep_does_not_fit() -> None:
    assert SchemaCheck({}).problem("[" * 5000 + "]" * 5000) == "it nests deeper than can be read"


@pytest.mark.parametrize("ref", ["http://127.0.0.1:9/x.json", "file:///etc/passwd", "#/$defs/none"])
def test_nothing_is_fetched(ref: str) -> None:
    with pytest.raises(BadGrammar, match="cannot be checked"):
        SchemaCheck({"$ref": ref}).problem("1")


@pytest.mark.parametrize("pattern", ["(", r"\p{L}"])
def test_a_pattern_that_python_cannot_read(pattern: str) -> None:
    with pytest.raises(BadGrammar, match="not a schema, at #/pattern"):
        SchemaCheck({"pattern": pattern})


def test_a_pattern_that_takes_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadrunner.engine.constraints.check.MAX_SECONDS", 0.2)
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(BadGrammar, match="within"):
        SchemaCheck({"pattern": "^(a+)+$"}).problem('"' + "a" * 60 + '!"')
    assert SchemaCheck({"pattern": "^(a+)+$"}).problem('"aaa"') is None
