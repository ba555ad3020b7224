"""Each rule with the case that made it, and cases it must leave alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.lsp.suggest import brackets, filters
from threadrunner.lsp.suggest.filters import Cursor


def at(marked: str, **facts: object) -> Cursor:
    """A cursor from a text with | in it."""
    prefix, _, suffix = marked.partition("|")
    return Cursor(prefix, suffix, **facts)  # type: ignore[arg-type]


CASES = [
    # markup
    (filters.cut_at_markup, "x = |", "1\n```\nThis sets x.", "1"),
    (filters.cut_at_markup, "x = |", "1<|endoftext|>def f():", "1"),
    (filters.cut_at_markup, "x = |", "a <| b", "a <| b"),
    # two blank lines
    (filters.cut_at_blank_lines, "def f():\n    |", "return 1\n\n\ndef g():", "return 1"),
    (filters.cut_at_blank_lines, "def f():\n    |", "a = 1\n\n    return a", "a = 1\n\n    return a"),
    # the block's end
    (filters.cut_at_block_end, "def f(x):\n    |", "return x\n\ndef g():\n    pass", "return x"),
    (filters.cut_at_block_end, "def f(x):|", "\n    return x\nprint(f(1))", "\n    return x"),
    (filters.cut_at_block_end, "def f(x):\n    if x:\n        |", "a()\n    b()", "a()\n    b()"),
    (filters.cut_at_block_end, "for x in y:\n    if x:\n        |\n    done()", "a()\n    b()\nc()", "a()\n    b()"),
    (filters.cut_at_block_end, "function f() {\n  |", "return 1;\n}\nfunction g() {", "return 1;\n}"),
    (filters.cut_at_block_end, "if x:\n    |", "a()\nelse:\n    b()", "a()\nelse:\n    b()"),
    (filters.cut_at_block_end, "|", "import os\nimport sys", "import os\nimport sys"),
    (filters.cut_at_block_end, "class A:\n|", "    def f(s):\n        pass\nx = 1", "    def f(s):\n        pass"),
    # what stands below
    (filters.cut_at_below, "a = 1\n|\nreturn a + b + c", "b = 2\nreturn a + b + c\nprint()", "b = 2"),
    (filters.cut_at_below, "f(|\n)", "1,\n)", "1,"),
    (filters.cut_at_below, "x {\n|\n}", "  if y {\n  }\n  z", "  if y {\n  }\n  z"),
    (filters.cut_at_below, "{\n|\n}\nend", "a\n}\nb", "a\n}\nb"),
    (filters.cut_at_below, "val|\nvalue = compute(1)", "ue = compute(1)", ""),
    # the rest of the line
    (filters.cut_tail_again, "foo(|)", "a, b)", "a, b"),
    (filters.cut_tail_again, "foo(|):", "a, b):", "a, b"),
    (filters.cut_tail_again, "foo(|):", "a, b)", "a, b"),
    (filters.cut_tail_again, "x = | + y", "a + y", "a"),
    (filters.cut_tail_again, "foo(|)", "bar(a)", "bar(a)"),
    (filters.cut_tail_again, "foo([\n    bar(|)\n])", "a()", "a()"),
    (filters.cut_tail_again, "foo([\n    bar(|)\n])", "a)", "a"),
    (filters.cut_tail_again, "foo(|)", "a, bar(b", "a, bar(b"),
    (filters.cut_tail_again, "x = |value", "a", "a"),
    (filters.cut_tail_again, "print('|')", "a', 'b'", "a', 'b"),
    (filters.cut_tail_again, "print('|')", "a', 'b", "a', 'b"),
    (filters.cut_tail_again, "u = '|'", "x'", "x"),
    (filters.cut_tail_again, 'u = "|"', "it's", "it's"),
    (filters.cut_tail_again, "f(|'b')", "'a' + ", "'a' + "),
    (filters.cut_tail_again, "f(| 'b')", "'a', 'x', ", "'a', 'x', "),
    (filters.cut_tail_again, "x = '|'\ny = 1", "a'\nz = 'b'", "a'\nz = 'b"),
    # a second closer
    (filters.cut_second_closer, "print(|)", "x)\n    y = 1", "x"),
    (filters.cut_second_closer, "print(|)", "f(x)", "f(x)"),
    (filters.cut_second_closer, "print('|')", "a)b", "a)b"),
    # a closer without an opener
    (filters.cut_unopened_closer, "x = (1, 2|", "))", ")"),
    (filters.cut_unopened_closer, "f(a|\n)", ")\nb", ""),
    (filters.cut_unopened_closer, "def f(a|", "):", "):"),
    (filters.cut_unopened_closer, "x = '('|", " + ')'", " + ')'"),
    # loops
    (filters.cut_loops, "|", "a = 1\na = 1\na = 1\na = 1", "a = 1"),
    (filters.cut_loops, "|", "a\nb\na\nb\na\nb\n", "a\nb"),
    (filters.cut_loops, "x = |", "foo.foo.foo.foo.foo.foo.foo.", "foo."),
    (filters.cut_loops, "x = |", "----------------------------", "----------------------------"),
    (filters.cut_loops, "|", "x()\nx()\ny()", "x()\nx()\ny()"),
    # indentation
    (filters.keep_indentation, "def f():\n    a = 1\n    |", "    return a", "return a"),
    (filters.keep_indentation, "def f():\n|", "    return 1", "    return 1"),
    (filters.keep_indentation, "def f():\n    if x:\n    |", "    return 1", "    return 1"),
    (filters.use_the_files_tabs, "def f():\n\tif a:\n\t\t|", "b()\n        c()", "b()\n\t\tc()"),
    (filters.use_the_files_tabs, "def f():\n    if a:\n        |", "b()\n        c()", "b()\n        c()"),
    # nothing new
    (filters.drop_line_above, "print(value)\n|", "print(value)", ""),
    (filters.drop_line_above, "}\n|", "}", "}"),
    (filters.drop_empty_comment, "x\n# |", " ", ""),
    (filters.drop_empty_comment, "|", "// \n", ""),
    (filters.drop_empty_comment, "# |", "why", "why"),
    # blanks
    (filters.trim, "x = |", "1  \n\n", "1"),
    (filters.trim, "x = |y", "1 + \n", "1 + "),
    (filters.trim, "a\n|    return b", "    c\n\n", "    c\n"),
    (filters.trim, "a\n|    return b", "    c; ", "    c; "),
    (filters.drop_blank, "x|", " \n ", ""),
    (filters.drop_blank, "f(x|", "):", "):"),
]


@pytest.mark.parametrize(("rule", "where", "said", "shown"), CASES)
def test_rule(rule: filters.Rule, where: str, said: str, shown: str) -> None:
    assert rule(said, at(where)) == shown


def test_an_unfinished_line_goes_unless_it_is_all() -> None:
    assert filters.cut_unfinished_line("a = 1\nb = (c", at("|", unfinished=True)) == "a = 1"
    assert filters.cut_unfinished_line("b = (c", at("|", unfinished=True)) == "b = (c"
    assert filters.cut_unfinished_line("a = 1\nb = (c", at("|")) == "a = 1\nb = (c"


def test_brackets_of_a_part_of_a_file_are_not_counted() -> None:
    assert filters.cut_unopened_closer("))", at("x|", whole=False)) == "))"


def test_every_rule_is_in_the_pipeline_and_has_a_case() -> None:
    tried = {rule for rule, *_ in CASES} | {filters.cut_unfinished_line}
    assert tried == set(filters.PIPELINE)
    assert all(rule.__doc__ for rule in filters.PIPELINE)


@pytest.mark.parametrize(
    ("where", "said", "shown"),
    [
        ("def f(x|", "):\n    return x\n\n\ndef g(", "):\n    return x"),
        ("f(x|", ")", ")"),
        ("print(|)", "a, b)", "a, b"),
        ("x = 1|", "   \n", ""),
    ],
)
def test_pipeline(where: str, said: str, shown: str) -> None:
    assert filters.apply(said, at(where)) == shown


def test_a_stream_ends_where_the_block_ends() -> None:
    cursor = at("def f(x):\n    |")
    assert not filters.ended("return", cursor)
    assert not filters.ended("a = 1\n    retu", cursor)
    assert filters.ended("return x\n\ndef g():\n", cursor)


def test_scan() -> None:
    assert brackets.scan("f(a[0], {") == ("({", "", [])
    assert brackets.scan("a) + ']' # )\n}") == ("", ")}", [1, 13])
    assert brackets.scan("(]") is None
    assert brackets.scan("don't (x)") == ("", "", [])
    assert brackets.scan('"""(" """ (') == ("(", "", [])


words = st.text(alphabet="ab ()[]{}:\n\t#'\"|é😀", max_size=40)


@given(prefix=words, suffix=words, said=words, unfinished=st.booleans())
def test_nothing_shown_was_not_said(prefix: str, suffix: str, said: str, unfinished: bool) -> None:
    """Rules cut and drop; what they leave is a part of what the model said, but for tabs and the indentation."""
    shown = filters.apply(said, Cursor(prefix, suffix, unfinished=unfinished))
    assert "".join(shown.split()) in "".join(said.split())
    assert not shown or shown.strip()
