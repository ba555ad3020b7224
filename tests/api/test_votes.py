"""What a vote may be, before a model is loaded for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from threadrunner.api.conflicts import conflicts
from threadrunner.api.generation import GenerateParams

PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "additionalProperties": False,
}


def said(vote: dict[str, Any], **params: Any) -> str | None:
    given = {"prompt": "x", "n": 5, "vote": vote, **params}
    return conflicts(msgspec.convert(given, GenerateParams))


@pytest.mark.parametrize(
    ("vote", "params", "says"),
    [
        ({}, {"n": 1}, "give `n`, 2 to 8"),
        ({}, {"temperature": 0}, "all are the same"),
        ({"by": "client", "least": 0.5}, {}, "for a majority"),
        ({"by": "client", "otherwise": "m"}, {}, "for a majority"),
        ({"by": "client", "field": "a"}, {}, "for a majority"),
        ({"otherwise": "m"}, {}, "give `vote.least` too"),
        ({"field": "a", "pattern": "b"}, {}, "at most one of"),
        ({"pattern": "("}, {}, "no regular expression: missing )"),
        ({"pattern": "(?i"}, {}, "no regular expression"),
        ({"field": "a..b"}, {}, "an empty name"),
        ({"field": ""}, {}, "an empty name"),
        ({"field": "/"}, {}, "an empty name"),
        ({"field": "agee"}, {"json_schema": PERSON}, "no 'agee' there; it has age, tags"),
        ({"field": "tags.0.x"}, {"json_schema": {**PERSON, "properties": {"tags": {"items": PERSON}}}}, "no 'x' there"),
    ],
)
def test_what_a_vote_cannot_be(vote: dict[str, Any], params: dict[str, Any], says: str) -> None:
    assert says in (said(vote, **params) or "")


@pytest.mark.parametrize(
    ("vote", "params"),
    [
        ({}, {"n": 2}),
        ({"by": "client"}, {"temperature": 0.1}),
        ({"least": 1, "otherwise": "m"}, {}),
        ({"field": "age"}, {"json_schema": PERSON}),
        ({"field": "/tags/0"}, {"json_schema": PERSON}),
        ({"field": "any"}, {"json_schema": {**PERSON, "additionalProperties": True}}),
        ({"field": "any"}, {"json_schema": {"$ref": "#/x", **PERSON}}),
        ({"field": "any"}, {"json_schema": True}),
        ({"pattern": r"(\d+)\s*$"}, {}),
    ],
)
def test_what_it_can_be(vote: dict[str, Any], params: dict[str, Any]) -> None:
    assert said(vote, **params) is None


@pytest.mark.parametrize(
    "vote",
    [{"least": 0}, {"least": 1.1}, {"by": "dice"}, {"otherwise": ""}, {"pattern": "x" * 257}, {"winner": 1}],
    ids=str,
)
def test_what_the_types_refuse(vote: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        said(vote)


@pytest.mark.parametrize("n", [0, 9])
def test_how_many(n: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        said({}, n=n)
