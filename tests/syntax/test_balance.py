"""What a text at a cursor may close. `|` is the cursor; `¦` would be the end of what is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.syntax.balance import Surroundings, surroundings
from threadrunner.syntax.languages import language_of

JS_FOR = "function sum(xs) {\n  let n = 0;\n  for (|\n    n += x;\n  }\n  return n;\n}\n"
C_WHILE = "int count(char *s) {\n    int n = 0;\n    while (|\n        n++;\n    }\n    return n;\n}\n"
LISP = "(defun fact (n)\n  (if (< n 2)\n      1\n    (* n (fact |)))\n"
CSS = ".a {\n  b: c;\n}\n\n.d|\n  f: g;\n}\n"


def at(marked: str, language: str = "python") -> Surroundings:
    prefix, _, suffix = marked.partition("|")
    return surroundings(prefix, suffix, language_of(language))


@pytest.mark.parametrize(
    ("language", "marked", "text", "left"),
    [
        ("python", "f(|)\n", "a, b)\nc", "a, b"),
        ("python", "f(|)\n", "g(a)", "g(a)"),
        ("python", "print(int(max(|)))\n", "a)))", "a"),
        ("python", "print(int(max(|)))\n", "f(a), (b)", "f(a), (b)"),
        ("python", "f(a|", "), b)", "), b"),
        ("python", "f(g(a|)\n", "), b)", "), b"),
        ("python", "x = {\n    'a': [1, |],\n    'b': 2,\n}\n", "2]\n}", "2"),
        ("python", "print('|')\n", "a', b)", "a"),
        ("python", "print('|', end='')\n", "a', b)", "a"),
        ("python", "print('|\ny = 1\n", "a')", "a')"),
        ("python", "# see f(|)\n", "a)", "a)"),
        ("javascript", JS_FOR, "const x of xs) {", "const x of xs) {"),
        ("c", C_WHILE, "*s++) {", "*s++) {"),
        ("javascript", "if (a) {\n  b();\n|\n}\n", "} else {\n  c();\n}\n}", "} else {\n  c();\n"),
        ("c", "void f() {\n  if (a) {\n    b();\n  |\n  c();\n  }\n}\n", "}\n}", "}\n"),
        ("c", "void f() {\n  if (a) {\n    b();\n  |\n  }\n}\n", "}\n}", ""),
        ("typescript", "items.forEach((|\n  log(item);\n});\n", "item) => {", "item) => {"),
        ("rust", "fn add(a: i32, |\n    a + b\n}\n", "b: i32) -> i32 {", "b: i32) -> i32 {"),
        ("emacs-lisp", LISP, "(- n 1)))))", "(- n 1)"),
        ("emacs-lisp", LISP + "\n(f)\n", "(- n 1)))))", "(- n 1))"),
        ("lisp", '(defun f (n)\n  "The |\n  (g n))\n', 'n."\n  (h n))))', 'n."\n  (h n)'),
        ("python", 'f("""a|\n', '""")\ng)', '""")\ng'),
        ("emacs-lisp", "    (a (equal b c))\n    (|)\n    (d\n", "a (b))\n    (c (b))", "a (b)"),
        ("emacs-lisp", '(defun f ()\n  (insert (g "%F" |)))\n', "(now))))", "(now)"),
        ("shellscript", "x=($(|))\n", "ls))\n", "ls"),
        ("markdown", "1) see (|)\n", "a) b", "a"),
        ("markdown", "see |\n", "1) a", "1) a"),
    ],
)
def test_where_closers_are_too_many(language: str, marked: str, text: str, left: str) -> None:
    around = at(marked, language)
    assert text[: around.excess(text)] == left


@pytest.mark.parametrize(
    ("language", "marked", "text", "faults"),
    [
        ("python", "f(|)\n", "a", 0),
        ("python", "f(|)\n", "g(a", 1),
        ("python", "f(|\n", "a", 1),
        ("python", "f(|\n", "a)", 0),
        ("python", "f('|\n", "a)", 2),
        ("javascript", JS_FOR, "const x of xs) {", 0),
        ("javascript", JS_FOR, "const x of xs)", 1),
        ("css", CSS, " {", 0),
        ("css", CSS, " {\n  x: y;\n}\n", 1),
        ("emacs-lisp", LISP + "\n(f)\n", "(- n 1))", 0),
        ("emacs-lisp", LISP + "\n(f)\n", "(- n 1)", 1),
        ("markdown", "(|\n", "a", None),
    ],
)
def test_what_a_text_leaves_undone(language: str, marked: str, text: str, faults: int | None) -> None:
    assert at(marked, language).after(text).faults == faults


def test_a_part_of_a_file_is_enough() -> None:
    """The function begins above what is known, and its end is below."""
    known = "    for (let i = 0; i < n; i++) {\n      if (a) {\n        b();\n|\n    }\n    return c;\n"
    assert "}\n}"[: at(known, "javascript").excess("}\n}")] == "}\n"


def test_what_is_far_away_is_not_read() -> None:
    """Otherwise, a file of 10 MB would be scanned for each suggestion."""
    assert "a)"[: at("x(\n" * 2_500_000 + "f(|)\n" + ")\n" * 2_500_000, "c").excess("a)")] == "a"


def test_what_hangs_may_be_closed_farther_down() -> None:
    around = at("const x = {\n  a: 1,\n  b: f(|\n  c: 3,\n", "javascript")
    assert around.after("2),").faults == 0


def test_content_that_stands_already_is_not_written_twice() -> None:
    around = at(CSS, "css")
    text = "e {\n  x: y;\n}\n"
    assert (at_ := around.opened_enough(text)) is not None and text[:at_] == "e {"


@pytest.mark.parametrize(
    ("language", "marked", "text", "left"),
    [
        ("go", "// sorts the|\n", " list\n// by name\nfunc f() {", " list\n// by name"),
        ("go", "// sorts|\n", "\nfunc f() {", "\nfunc f() {"),
        ("c", "/* sorts|\n */\nint a;\n", " it\n * twice\n */\nint b;", " it\n * twice"),
        ("c", "/**|\n * once\n", "\n * sorts\n */\nint b;", "\n * sorts"),
        ("c", "/* sorts|\n", " it */\nint b;", " it */\nint b;"),
        ("go", "f(|)\n", "a\n// b\nc", "a\n// b\nc"),
    ],
)
def test_where_a_comment_ends(language: str, marked: str, text: str, left: str) -> None:
    assert text[: at(marked, language).comment_end(text)] == left


odd = st.text(alphabet="ab ()[]{}\n\t'\"#;", max_size=50)


@given(prefix=odd, suffix=odd, text=odd, language=st.sampled_from(["python", "c", "lisp", "bash", "html", ""]))
def test_any_text_has_an_answer(prefix: str, suffix: str, text: str, language: str) -> None:
    around = surroundings(prefix, suffix, language_of(language))
    cut = around.excess(text)
    assert cut is None or text[cut] in ")]}\"'"
    assert around.excess("") is None
    around.after(text).faults  # noqa: B018
