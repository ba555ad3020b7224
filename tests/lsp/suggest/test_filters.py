"""Each rule with the case that made it, and cases it must leave alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.lsp.suggest import closers, ends, filters
from threadrunner.lsp.suggest.cursor import Cursor, Rule


def at(marked: str, **facts: object) -> Cursor:
    """A cursor from a text with | in it."""
    prefix, _, suffix = marked.partition("|")
    return Cursor(prefix, suffix, **facts)  # type: ignore[arg-type]


CASES = [
    # markup
    (ends.cut_at_markup, "x = |", "1\n```\nThis sets x.", "1"),
    (ends.cut_at_markup, "x = |", "1<|endoftext|>def f():", "1"),
    (ends.cut_at_markup, "x = |", "a <| b", "a <| b"),
    # two blank lines
    (ends.cut_at_blank_lines, "def f():\n    |", "return 1\n\n\ndef g():", "return 1"),
    (ends.cut_at_blank_lines, "def f():\n    |", "a = 1\n\n    return a", "a = 1\n\n    return a"),
    # the block's end
    (ends.cut_at_block_end, "def f(x):\n    |", "return x\n\ndef g():\n    pass", "return x"),
    (ends.cut_at_block_end, "def f(x):|", "\n    return x\nprint(f(1))", "\n    return x"),
    (ends.cut_at_block_end, "def f(x):\n    if x:\n        |", "a()\n    b()", "a()\n    b()"),
    (ends.cut_at_block_end, "for x in y:\n    if x:\n        |\n    done()", "a()\n    b()\nc()", "a()\n    b()"),
    (ends.cut_at_block_end, "function f() {\n  |", "return 1;\n}\nfunction g() {", "return 1;\n}"),
    (ends.cut_at_block_end, "if x:\n    |", "a()\nelse:\n    b()", "a()\nelse:\n    b()"),
    (ends.cut_at_block_end, "|", "import os\nimport sys", "import os\nimport sys"),
    (ends.cut_at_block_end, "class A:\n|", "    def f(s):\n        pass\nx = 1", "    def f(s):\n        pass"),
    # what stands below
    (ends.cut_at_below, "a = 1\n|\nreturn a + b + c", "b = 2\nreturn a + b + c\nprint()", "b = 2"),
    (closers.cut_second_closer, "f(|\n)", "1,\n)", "1,"),
    (ends.cut_at_below, "x {\n|\n}", "  if y {\n  }\n  z", "  if y {\n  }\n  z"),
    (ends.cut_at_below, "{\n|\n}\nend", "a\n}\nb", "a\n}\nb"),
    (ends.cut_at_below, "|\nif a:\n    call(b)\n", "if a:\n    call(b)", ""),
    (ends.cut_at_below, "val|\nvalue = compute(1)", "ue = compute(1)", ""),
    # the rest of the line
    (closers.cut_second_closer, "foo(|)", "a, b)", "a, b"),
    (closers.cut_second_closer, "foo(|):", "a, b):", "a, b"),
    (closers.cut_second_closer, "foo(|):", "a, b)", "a, b"),
    (closers.cut_tail_again, "x = | + yes", "a + yes", "a"),
    (closers.cut_tail_again, "foo(|)", "bar(a)", "bar(a)"),
    (closers.cut_tail_again, "foo([\n    bar(|)\n])", "a()", "a()"),
    (closers.cut_second_closer, "foo([\n    bar(|)\n])", "a)", "a"),
    (closers.cut_tail_again, "foo(|)", "a, bar(b", "a, bar(b"),
    (closers.cut_tail_again, "x = |value", "a", "a"),
    (closers.cut_second_closer, "print('|')", "a', 'b'", "a"),
    (closers.cut_second_closer, "print('|')", "a', 'b", "a', 'b"),
    (closers.cut_second_closer, "u = '|'", "x'", "x"),
    (closers.cut_tail_again, 'u = "|"', "it's", "it's"),
    (closers.cut_tail_again, "f(|'b')", "'a' + ", "'a' + "),
    (closers.cut_tail_again, "f(| 'b')", "'a', 'x', ", "'a', 'x', "),
    (closers.cut_second_closer, "x = '|'\ny = 1", "a'\nz = 'b'", "a"),
    # a second closer
    (closers.cut_second_closer, "print(|)", "x)\n    y = 1", "x"),
    (closers.cut_second_closer, "print(|)", "f(x)", "f(x)"),
    (closers.cut_second_closer, "print('|')", "a)b", "a)b"),
    # a closer without an opener
    (closers.cut_second_closer, "x = (1, 2|", "))", ")"),
    (closers.cut_second_closer, "f(a|\n)", ")\nb", ""),
    (closers.cut_second_closer, "def f(a|", "):", "):"),
    (closers.cut_second_closer, "x = '('|", " + ')'", " + ')'"),
    (closers.cut_second_closer, "x {\n  y|\n}", ";\n}\nz {\n  a;", ";\n}\nz {\n  a;"),
    # a comment
    (closers.cut_at_comment_end, "# sorts|\n", " it\nx = 1", " it"),
    (closers.cut_at_comment_end, "# sorts|\n", "\nx = 1", "\nx = 1"),
    (closers.cut_at_comment_end, "# a\n|\n# c", "# b\n# b\nx = 1", "# b\n# b"),
    (closers.cut_at_comment_end, "# a\n|\n# c", "x = 1\n# b", "x = 1\n# b"),
    (closers.cut_at_comment_end, "# a\n|\nx = 2", "# b\nx = 1", "# b\nx = 1"),
    # what fits
    (closers.keep_what_fits, "f(|\n", "\n  a,\n  b)\ng(c", "\n  a,\n  b)"),
    (closers.keep_what_fits, "f(|\n", "a, g(b", "a, g(b"),
    (closers.keep_what_fits, "f(|, c)\n", "a, g(b", ""),
    (closers.keep_what_fits, "f(|, c)\n", "g(b)", "g(b)"),
    (closers.keep_what_fits, "f({\n  |\n", "a: 1,", "a: 1,"),
    (closers.keep_what_fits, "x = '|\n", "a'\ny = (1", "a'"),
    # loops
    (ends.cut_loops, "|", "a = 1\na = 1\na = 1\na = 1", "a = 1"),
    (ends.cut_loops, "|", "a\nb\na\nb\na\nb\n", "a\nb"),
    (ends.cut_loops, "x = |", "foo.foo.foo.foo.foo.foo.foo.", "foo."),
    (ends.cut_loops, "x = |", "1000000000000000000000", "10"),
    (ends.cut_loops, "f(|)", "'1000000000000000000000", ""),
    (ends.cut_loops, "f(|)", "a,\n  '1000000000000000000000", "a,"),
    (ends.cut_loops, "x = |", "], [], [], [], [], [], [], [], [", "], ["),
    (ends.cut_loops, "x = |", "----------------------------", "----------------------------"),
    (ends.cut_loops, "|", "x()\nx()\ny()", "x()\nx()\ny()"),
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
    (filters.drop_empty_comment, "# a\n|\n# b", "#", "#"),
    # blanks
    (filters.trim, "x = |", "1  \n\n", "1"),
    (filters.trim, "x = |y", "1 + \n", "1 + "),
    (filters.trim, "a\n|    return b", "    c\n\n", "    c\n"),
    (filters.trim, "a\n|    return b", "    c; ", "    c; "),
    (filters.drop_blank, "x|", " \n ", ""),
    (filters.drop_blank, "f(x|", "):", "):"),
]


IN = [
    ("markdown", ends.cut_at_markup, "Run:\n\n|", "```sh\nls\n```", "```sh\nls\n```"),
    ("rust", ends.cut_at_markup, "/// # Examples\n/// |", "```\n/// f();\n/// ```", "```\n/// f();\n/// ```"),
    ("python", ends.cut_at_markup, '"""Doc.\n\n|', "```\nf()\n```", "```\nf()\n```"),
    ("rust", ends.cut_at_markup, "fn f() {\n    |", "g();\n}\n```\nThis", "g();\n}"),
    ("emacs-lisp", ends.cut_at_block_end, "(f\n    (g|\n    b)", " c)\n  d)", " c)\n  d)"),
    ("ruby", ends.cut_at_block_end, "if a\n  |", "b\nelsif c\n  d\nend\nx", "b\nelsif c\n  d\nend"),
    ("emacs-lisp", ends.cut_at_block_end, "(f\n  (g|\n", "))\n(h", "))"),
    ("lua", ends.cut_second_end, "if a then\n  |\nelse\n  c()\nend", "b()\nend", "b()"),
    ("shellscript", ends.cut_second_end, "case $|\n  b)\n  ;;\nesac", "a in\n  c)\n  ;;\nesac", "a in\n  c)\n  ;;"),
    ("ruby", ends.cut_second_end, "|\n  b\nend", "if a\n  c\nend", "if a\n  c\nend"),
    ("lua", ends.cut_second_end, "if a then\n  |\nc()", "b()\nend", "b()\nend"),
    ("c", ends.cut_at_below, "int a|\nint a = compute(b);\nint c;", " = compute(b);", ""),
    ("c", ends.cut_at_below, "// int a|\n// int a = compute(b);", " = compute(b);", " = compute(b);"),
    ("python", closers.drop_head_without_body, "x = 1\n|\nz = 3", "y = 2\nif y:", "y = 2"),
    ("python", closers.drop_head_without_body, "x = 1\n|\n    z = 3", "y = 2\nif y:", "y = 2\nif y:"),
    ("c", closers.drop_head_without_body, "a();\n|\nd();", "b();\nif (c) {", "b();\nif (c) {"),
    ("ruby", closers.drop_head_without_body, "a\n|\nd", "b\nc.each do |x|", "b"),
    ("ruby", closers.drop_head_without_body, "a\n|\nd", "b\nif c then d end", "b\nif c then d end"),
    ("python", closers.drop_head_without_body, "def f(x|", "):", "):"),
    ("shellscript", closers.cut_tail_again, "x=($(|))", "ls)", "ls)"),
    ("go", closers.cut_second_body, "|\n\tx := 1\n}", "func f() {\n\ty := 2\n}", "func f() {"),
    ("go", closers.cut_second_body, "|\n\tx := 1\n}", "func f() {\n\ty := g(", "func f() {\n\ty := g("),
    ("c", closers.cut_second_body, "f(a)\n|\n    .b();", "g {\n  c;\n}", "g {\n  c;\n}"),
    ("c", closers.cut_tail_again, "// see (|)", "a(b)", "a(b)"),
    ("c", closers.cut_tail_again, "// see (|)", "a, b)", "a, b"),
    ("c", closers.keep_what_fits, "a {\n  |\n  }\n}", "if (b) {\n    c();\n  }\n  d();", "if (b) {\n    c();"),
    ("c", closers.keep_what_fits, "a {\n  |\n    c();\n  }\n}", "if (b) {\n    c();\n  }\n  d();", "if (b) {"),
    ("c", closers.cut_tail_again, "// ends|.", " with..", " with.."),
    ("html", closers.cut_tail_again, '<a b="|">', 'c">', "c"),
]


@pytest.mark.parametrize(("language", "rule", "where", "said", "shown"), IN)
def test_rule_in_a_language(language: str, rule: Rule, where: str, said: str, shown: str) -> None:
    assert rule(said, at(where, language=language)) == shown


@pytest.mark.parametrize(("rule", "where", "said", "shown"), CASES)
def test_rule(rule: Rule, where: str, said: str, shown: str) -> None:
    assert rule(said, at(where)) == shown


def test_an_unfinished_line_goes_unless_it_is_all() -> None:
    assert ends.cut_unfinished_line("a = 1\nb = (c", at("|", unfinished=True)) == "a = 1"
    assert ends.cut_unfinished_line("b = (c", at("|", unfinished=True)) == "b = (c"
    whole = "a = 1\nb = 2<|endoftext|>def"
    assert ends.cut_unfinished_line(whole, at("|", unfinished=True)) == whole, "markup ends what was said here"
    assert filters.apply("a = 1\nb = 2\n```\nThis is", at("|", unfinished=True)) == "a = 1\nb = 2"
    assert ends.cut_unfinished_line("a = 1\nb = (c", at("|")) == "a = 1\nb = (c"


def test_a_head_goes_where_the_tokens_ran_out() -> None:
    unfinished = at("a();\n|\nd();", language="c", unfinished=True)
    assert closers.drop_head_without_body("b();\nif (c) {", unfinished) == "b();"
    inside = at("a();\n|\n}", language="c", unfinished=True)
    assert closers.drop_head_without_body("b();\nif (c) {", inside) == "b();\nif (c) {"


def test_every_rule_is_in_the_pipeline_and_has_a_case() -> None:
    tried = {rule for rule, *_ in CASES} | {rule for _, rule, *_ in IN} | {ends.cut_unfinished_line}
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


words = st.text(alphabet="ab ()[]{}:\n\t#'\"|é😀", max_size=40)


@given(prefix=words, suffix=words, said=words, unfinished=st.booleans())
def test_nothing_shown_was_not_said(prefix: str, suffix: str, said: str, unfinished: bool) -> None:
    """Rules cut and drop; what they leave is a part of what the model said, but for tabs and the indentation."""
    shown = filters.apply(said, Cursor(prefix, suffix, unfinished=unfinished))
    assert "".join(shown.split()) in "".join(said.split())
    assert not shown or shown.strip()
