"""A grammar that llama.cpp would choke on is refused before it sees it; what people write passes, and soon."""

from __future__ import annotations

import time
from typing import Any

import pytest

from threadrunner.engine.llama.errors import BadGrammar
from threadrunner.engine.prompts import grammar_cost, json_schema
from threadrunner.engine.prompts.grammar import Grammar, NotUnderstood, Repeat

TWICE = "\n".join(f'a{i} ::= a{i + 1} a{i + 1} | ""' for i in range(30))


@pytest.mark.parametrize(
    "text",
    [
        'root ::= (("a"? "a"?){0,20}){0,20} "b"',
        'root ::= ("a"? "a"?){0,200}',
        "root ::= " + '"a"? ' * 100,
        "root ::= " + "[a-z]* " * 20,
        "root ::= " + '" "? ' * 30 + '"x"',
        'root ::= "beginning" x x x x x x x x x x x x x x x x x x x x x x x x x x\nx ::= [a-z]* | [m]',
        'root ::= ("a"|"a"|"a"|"a"|"a"|"a"|"a")*',
        'root ::= (" "|" "|" "|" ")* "x"',
        'root ::= "far from the beginning" "{" inner "}"\ninner ::= ("x"? ("y" | "x" | [a-z])?){0,50}',
        'root ::= root "a" | "a"',
        f'root ::= a0 "x"\n{TWICE}\na30 ::= "x" | ""',
    ],
)
def test_what_can_be_read_in_too_many_ways(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(BadGrammar, match="too many ways"):
        grammar_cost.check(text)
    assert time.monotonic() - began < 10


STRINGS = {f"name{i}": {"type": "string", "maxLength": 20} for i in range(40)}
SCHEMAS: list[dict[str, Any] | bool] = [
    True,
    {"type": "object", "properties": STRINGS, "required": [*STRINGS]},
    {"type": "object", "properties": STRINGS},
    {"enum": [f"value {i}" for i in range(1000)]},
    {"type": "array", "items": {"type": "array", "items": {"type": "number"}, "maxItems": 60}, "maxItems": 60},
    {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": "^[a-z ]+[0-9]*$"}]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_schemas_pass(schema: dict[str, Any] | bool) -> None:
    text = json_schema.to_grammar(schema)
    Grammar(text)  # it is understood
    grammar_cost.check(text)


@pytest.mark.parametrize(
    "text",
    [
        "root ::= [^\\n]{0,2000} # a comment\n",
        'root ::= line+\nline ::= [a-z ]* "\\n"',
        'root ::= ("a" | "a")*',
        "root ::= ([a-z ] | [ \\t] | [0-9a-f])*",
        'root ::= (word " "?)*\nword ::= [a-z]+',
        'root ::= item ("," " "? item)*\nitem ::= "a"? "b"? "c"? "d"? "e"?',
        'root ::= ("a" | ("b"\n | "c"))* <[17]> !<think> .',
        'root ::= expr\nexpr ::= term ([-+*/] term)*\nterm ::= [0-9]+ | "(" expr ")"',
    ],
)
def test_what_people_write_passes(text: str) -> None:
    Grammar(text)
    grammar_cost.check(text)


@pytest.mark.parametrize(
    "text", ["", "root", 'root ::= "a', "root ::= [a", "root ::= x", 'root ::= ("a"', "root ::= *", "?"]
)
def test_a_mistake_is_llama_cpps_to_tell(text: str) -> None:
    if text:
        with pytest.raises(NotUnderstood):
            Grammar(text)
    grammar_cost.check(text)


def test_a_repetition_is_what_llama_cpp_makes_of_it() -> None:
    (rule,) = Grammar('root ::= "ab"{2,4}').rules
    ((*twice, repeat),) = rule.alternatives
    a, b = ((97, 97),), ((98, 98),)
    assert twice == [a, b, a, b]
    assert isinstance(repeat, Repeat)
    (first, none) = repeat.alternatives
    assert (first[:2], none) == ((a, b), ())
    assert isinstance(first[2], Repeat)
    assert first[2].alternatives == ((a, b), ())
    (rule,) = Grammar("root ::= [^b-d]").rules
    assert rule.alternatives == ((((0, 97), (101, 0x10FFFF)),),)
