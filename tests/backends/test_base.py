"""What the author of a backend imports."""

from __future__ import annotations

from typing import get_args

import pytest

from threadrunner.api import types
from threadrunner.api.conflicts import conflicts
from threadrunner.api.fields import Priority as PriorityName
from threadrunner.api.generation import GenerateParams, InfillParams, Message
from threadrunner.backends import base
from threadrunner.backends.requests import priority_of
from threadrunner.engine.sequence import Priority


def test_all_that_it_names_is_there() -> None:
    assert all(hasattr(base, name) for name in base.__all__)
    public = {name for name in vars(base) if not name.startswith("_")}
    assert public - set(base.__all__) == {"Any", "Callable", "Protocol", "Struct", "annotations", "runtime_checkable"}


def test_the_old_path_gives_the_same_types_and_no_more() -> None:
    assert set(types.__all__) <= set(base.__all__)
    assert all(getattr(types, name) is getattr(base, name) for name in types.__all__)


def test_priorities_have_one_order() -> None:
    assert set(base.PRIORITIES) == set(get_args(PriorityName))
    assert {name: priority_of(name) for name in base.PRIORITIES} == {p.name.lower(): p for p in Priority}
    assert priority_of("from a newer version") is Priority.NORMAL


PROMPT = {"prompt": "a"}
MESSAGES = {"messages": [Message("user", "a")]}


@pytest.mark.parametrize(
    ("params", "about"),
    [
        ({}, "`messages`"),
        ({**PROMPT, **MESSAGES}, "`messages`"),
        ({**MESSAGES, "raw": True}, "`raw`"),
        ({**PROMPT, "raw": True, "system": "b"}, "`raw`"),
        ({**PROMPT, "raw": True, "memory": True}, "`raw`"),
        ({**PROMPT, "grammar": "root ::= [a]", "json_schema": True}, "`json_schema`"),
        ({**PROMPT, "grammar": "root ::= [a]", "json_schema": {}}, "`json_schema`"),
    ],
)
def test_params_that_contradict_each_other(params: dict[str, object], about: str) -> None:
    assert about in str(conflicts(GenerateParams(**params)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "params",
    [
        GenerateParams(prompt=""),
        GenerateParams(**MESSAGES, system="b", memory=True),  # type: ignore[arg-type]
        GenerateParams(prompt="a", raw=True, memory=False),
        GenerateParams(prompt="a", grammar="root ::= [a]", json_schema=False),
        InfillParams(prefix="a"),
    ],
)
def test_params_that_do_not(params: GenerateParams | InfillParams) -> None:
    assert conflicts(params) is None


def test_a_middle_is_bound_by_one_grammar_too() -> None:
    assert conflicts(InfillParams(prefix="a", grammar="root ::= [a]", json_schema=True))
