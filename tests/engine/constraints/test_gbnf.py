"""GBNF as llama.cpp reads it: what is accepted, what is refused and where, and what hostile grammars cost: nothing."""

from __future__ import annotations

import pytest

from tests.engine.constraints.harness import accepts, matcher
from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.constraints.gbnf import MAX_PATH
from threadrunner.engine.llama.errors import BadGrammar

ARITHMETIC = r"""
root  ::= (expr "=" ws term "\n")+  # llama.cpp's own example
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""
JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


@pytest.mark.parametrize(
    ("grammar", "yes", "no"),
    [
        ('root ::= " yes" | " no"', [" yes", " no"], ["yes", " yes "]),
        ('root ::= "a"*', ["", "aaa"], ["b"]),
        ('root ::= ("a" | "ab") "bc"', ["abc", "abbc"], ["ab"]),
        ('root ::= "a"{2,3} "b"{2} "c"{1,}', ["aabbc", "aaabbccc"], ["abbc", "aaaabbc", "aabb", "aabbb"]),
        ('root ::= ("a"?){0,3} ("b"*)+', ["", "aaab", "b"], ["aaaa", "ba"]),
        ("root ::= .", ["a", "\n", "é", "🦀"], ["", "ab"]),
        ("root ::= [^a-c\\n]", ["d", "é", "^"], ["a", "\n"]),
        (r"root ::= [\]\[^&~-]+", ["]", "[^&~-]"], ["a", "\\"]),
        ("root ::= [a-]", ["a", "-"], ["b"]),
        ("root ::= [&&a]+", ["&a"], ["b"]),
        (r'root ::= "\x41\u00e9\U0001F980\t\"\\"', ['Aé🦀\t"\\'], ["A"]),
        (r"root ::= [\x00-\x1F]", ["\x00", "\x1f", "\n"], [" "]),
        ('root ::= first-rule\nfirst-rule ::= firstRule\nfirstRule ::= first_rule\nfirst_rule ::= "x"', ["x"], ["y"]),
        ('root ::= a | start\na ::= "1" |\n "2"\nstart ::= "s"', ["1", "2", "s"], ["a"]),
        ('root ::= "(" root ")" | ""', ["", "()", "((()))"], ["(", "())"]),
        ('root ::= root "a" | "b"', ["b", "baa"], ["a", "ab"]),
        ('root ::= x\nroot ::= y\nx ::= "x"\ny ::= "y"', ["y"], ["x"]),
        (ARITHMETIC, ["x=1\n", "(a +b2)*3=7 \n", "x=1\n\n2=2\n"], ["x=\n", "1=1"]),
        ('root ::= "(" root ")" | a "ab"\na ::= "a"{0,3}', ["ab", "(aaab)", "aaaab"], ["b"]),
        ('root ::= word " " root | word "s."\nword ::= [a-z]+', ["cats.", "a b cs."], ["cat."]),
        ('root ::= "x" root | n ("." n)?\nn ::= [0-9]+', ["x1.5", "12"], ["1."]),
        (JSON, ['{"a": [1, -2.5e3, "x\\n\\u00e9", {}], "é": null}', "{}"], ["{", '{"a": 01}', '{"a"}']),
    ],
)
def test_what_it_accepts(grammar: str, yes: list[str], no: list[str]) -> None:
    constraint = Constraint.of_gbnf(grammar)
    assert [text for text in yes if not accepts(constraint, text)] == []
    assert [text for text in no if accepts(constraint, text)] == []


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        ("", "empty"),
        ("# only a comment", "no rule named root"),
        ('rule ::= "a"', "no rule named root"),
        ("root", "line 1, column 5: expected ::="),
        ('root ::= "a\n', "line 1, column 10: expected an end"),
        ("root ::= [a", "line 1, column 10: expected an end"),
        ('root ::= "a"\nx ::= y', "line 2, column 7: there is no rule named y, before 'y'"),
        ('root ::= ("a"', "expected )"),
        ('root ::= "a")', "column 13: expected the end of the rule"),
        ("root ::= *", "column 10: expected the end of the rule"),
        (r'root ::= "\q"', "column 11: not an escape"),
        (r'root ::= "\uD800"', "not a character's number"),
        (r'root ::= "\u12"', "not a character's number"),
        ('root ::= "a"{2,1}', "less than the smallest"),
        ('root ::= "a"{,3}', "not a repetition"),
        ('root ::= "a"{1000000}', "more than 100000 repetitions"),
        ("root ::= <think>", "tokens cannot be named"),
        ("root ::= " + "(" * 1000 + '"a"' + ")" * 1000, "nest deeper than 100"),
        ("x" * (1 << 19), "the maximum is 262144"),
        ("\n".join(f'r{i} ::= "a"' for i in range(9000)), "more than 8000 rules"),
        ("root ::= [b-a]", "cannot be held"),
    ],
)
def test_what_is_refused_and_where(grammar: str, said: str) -> None:
    with pytest.raises(BadGrammar) as caught:
        Constraint.of_gbnf(grammar)
    assert said in str(caught.value)


def chain(count: int, last: str = '"z"') -> str:
    return "\n".join(["root ::= r0", *(f"r{i} ::= r{i + 1}" for i in range(count)), f"r{count} ::= {last}"])


TWICE = "\n".join(f"a{i} ::= a{i + 1} a{i + 1}" for i in range(30))
MAYBE = "\n".join(f'a{i} ::= a{i + 1} a{i + 1} | ""' for i in range(30))


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= (("a"? "a"?){0,20}){0,20} "b"',
        "root ::= " + '"a"? ' * 100,
        "root ::= " + "[a-z]* " * 20,
        'root ::= ("a"|"a"|"a"|"a"|"a"|"a"|"a"|"a")*',
        f'root ::= a0 "x"\n{TWICE}\na30 ::= "x"',
        f'root ::= a0 "x"\n{MAYBE}\na30 ::= "x" | ""',
        'root ::= root root | "a" | "b"',
        'root ::= x x x | x x | "a"\nx ::= root | "b"',
        "root ::= " + "(" * 9 + '"a"' + "){0,99}" * 9,
        'root ::= "a"{0,100000} "b"',
        'root ::= x{0,100000} "b"\nx ::= "a" | "(" root ")"',
        chain(MAX_PATH - 10),
        chain(MAX_PATH - 10, '"z" root | "z"'),
    ],
)
def test_hostile_grammars_are_held_or_refused(grammar: str) -> None:
    """llama.cpp's own followed each way by itself, and a grammar of 38 characters held a worker for good."""
    try:
        made = matcher(Constraint.of_gbnf(grammar))
        for _ in range(50):
            allowed = made.allowed()
            if made.complete or not len(allowed):
                break
            made.take(int(allowed[0]))
    except BadGrammar:
        pass


def test_a_chain_beyond_what_native_code_follows_is_refused() -> None:
    with pytest.raises(BadGrammar, match="lead from one to the next"):
        Constraint.of_gbnf(chain(7000))
