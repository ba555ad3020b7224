"""A matcher says which tokens may come next: text, ends, control tokens, whole masks."""

from __future__ import annotations

import pytest

from tests.engine.constraints.harness import CONTROL, END, accepts, guide, matcher
from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.llama.errors import BadGrammar

WORD = Constraint.of_gbnf('root ::= "ab" [cd]? | "é"')


def test_a_mask_is_what_would_be_taken() -> None:
    made = matcher(WORD)
    assert made.allowed().tolist() == [97, 195, 256, 260]  # a, the first byte of é twice, ab
    for token in made.allowed().tolist():
        assert matcher(WORD).take(token)
    assert not made.take(98)
    assert not made.take(END)
    assert not made.take(CONTROL)
    assert made.take(256)
    assert made.allowed().tolist() == [99, 100, END]
    assert not made.complete
    assert made.take(100)
    assert made.complete
    assert made.allowed().tolist() == [END]
    assert made.take(END)


def test_candidates_go_their_own_ways() -> None:
    one, other = guide.matchers(WORD, 2)
    assert one.take(97)
    assert one.allowed().tolist() == [98]
    assert other.take(195)
    assert other.take(169)
    assert other.complete


def test_bytes_that_are_no_token_are_taken_whole_or_not() -> None:
    made = matcher(WORD)
    assert not made.take_text(b"abx")
    assert made.take_text(b"a")
    assert made.take_text(b"bc")
    assert made.complete


def test_a_control_token_passes_where_it_is_named() -> None:
    made = matcher(Constraint.of_lark('start: "a" <|tool|> "b"'))
    assert made.take(97)
    assert made.allowed().tolist() == [CONTROL]
    assert not made.take_text(b"<|tool|>")
    assert made.take(CONTROL)
    assert made.take(98)
    assert made.complete


def test_a_lark_grammar_may_hold_a_schema() -> None:
    lark = Constraint.of_lark('start: "<call>" %json {"type": "object", "properties": {"a": {"const": 1}}} "</call>"')
    assert accepts(lark, '<call>{"a": 1}</call>')
    assert not accepts(lark, '<call>{"a": 2}</call>')
    with pytest.raises(BadGrammar, match="cannot be followed"):
        matcher(Constraint.of_lark("start: missing"))
    with pytest.raises(BadGrammar, match="unique"):
        matcher(Constraint.of_lark('start: %json {"uniqueItems": true}'))


def test_what_says_nothing_leaves_nothing() -> None:
    with pytest.raises(BadGrammar, match="nothing to say"):
        matcher(Constraint.of_gbnf('root ::= root "a"')).allowed()


def test_a_constraint_that_becomes_too_costly_is_an_error() -> None:
    constraint = Constraint.of_schema({"type": "object", "properties": {str(i): {} for i in range(3900)}})
    with pytest.raises(BadGrammar, match="cannot be followed"):
        for _ in range(10):
            made = matcher(constraint)
            made.take(ord("{"))
            made.allowed()
            made.take(ord('"'))
            made.allowed()
