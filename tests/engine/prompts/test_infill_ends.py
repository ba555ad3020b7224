from __future__ import annotations

import pytest

from threadrunner.engine.prompts.detokenizer import Detokenizer
from threadrunner.engine.prompts.infill_ends import TimeBudget, middle_ends


def middle(marked: str, text: str, language: str = "python", size: int = 3, cut: bool = False) -> tuple[str, bool]:
    """The text fed in pieces of `size` characters; what came out, and whether a stop ended it."""
    prefix, _, suffix = marked.partition("|")
    detokenizer = Detokenizer(cutters=[middle_ends(prefix, suffix, language)])
    shown = ""
    for at in range(0, len(text), size):
        shown += detokenizer.add(text[at : at + size].encode())
        if detokenizer.stopped:
            assert shown == detokenizer.text
            return shown, True
    assert detokenizer.text.startswith(shown)
    return shown + detokenizer.finish(cut), False


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("marked", "text", "expected"),
    [
        ("    x = f(|)\n    return x\n", "a, b)\n    return x", "a, b"),
        ("    x|\n    return x\n", " = 1\n    return x\n", " = 1"),
        ("    x|\n    return x\n", " = 1\n    return x_1\n    return x\n", " = 1\n    return x_1"),
        ("def f():\n    |", "return 1\n\n\n\nx", "return 1"),
        ("    |", "return 1\ndef g():", "return 1"),
        ("    |\n    z = 3", "return 1\ny = 2", "return 1"),
        ("    |\nclass B:", "return 1\nif a:", "return 1\nif a:"),
        ("f(g(|))\n", "h(a), b)))\n", "h(a), b"),
        ("f(g(|))\n", "h(a)))\n", "h(a)"),
        ("if a|:\n    b()\n", " == 1:\n    b()\n", " == 1"),
        ("if a:\n    b()\n|    return c\n", "else:\n    return c\n", "else:\n"),
        ("def f():\n    |return c\n", "b()\n    return c\n", "b()\n    "),
        ("def f():\n    |return c\n", "b()\n    d()\n    e()", "b()\n    d()\n    "),
        ("def f():\n    |return c\n", "b", ""),
        ("print('|')\n", "it\\'s')\nx", "it\\'s"),
        ("# sorts|\n", " it\nx = 1\n", " it"),
    ],
)
def test_where_a_middle_ends(marked: str, text: str, expected: str, size: int) -> None:
    assert middle(marked, text, size=size)[0] == expected


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("language", "marked", "text", "expected"),
    [
        ("javascript", "for (|\n  n += x;\n}\n", "const x of xs) {\n  n += x;\n}", "const x of xs) {"),
        ("javascript", "if (a) {\n  b();\n|\n}\n", "} else {\n  c();\n}\n}\nd", "} else {\n  c();"),
        ("c", "// sorts|\n", " it\n// twice\nint x;\n", " it\n// twice"),
        ("c", "/* sorts|\n */\n", " it\n * twice\n */\nint x;\n", " it\n * twice"),
        ("c", "#|\n", "define A\n#define B\n", "define A\n#define B"),
        ("emacs-lisp", "(f a\n   (g |))\n", "(h b)))\n", "(h b)"),
        ("emacs-lisp", "(f a\n   (g |)\n", "(h b))))\n", "(h b)"),
        ("emacs-lisp", "(f a\n   (g |)\n\n(f)\n", "(h b))))\n", "(h b))"),
        ("markdown", "# A\n|\n", "text\n# B\n", "text\n# B"),
    ],
)
def test_languages_differ(language: str, marked: str, text: str, expected: str, size: int) -> None:
    assert middle(marked, text, language, size)[0] == expected


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("marked", "text", "expected"),
    [
        ("x = | + y\n", "a + y\nz", "a"),
        ("x = | + y\n", "a * b\n", ""),
        ("f(|, b)\n", "a, b)\nx", "a"),
        ("f(|) + 1\n", "g(a), b) * 2", "g(a), b"),
        ("exports.|json\nx\n", "json = parser.json\ny", "json = parser."),
        ("f('|', b)\n", "a', c)", "a"),
        ("compu|(a)\n", "te(a)\n", "te"),
        ("compu|(a)\n", "te_all(b, c)\n", "te_all"),
        ("get|Name(a)\n", "LastName(a)\n", "Last"),
        ("get|Name(a)\n", "All(b)\n", ""),
        ("ret|(a)\n", " = 1\n", ""),
        ("x = | # the number of files that are open\n", "count() # the number of files that", "count()"),
    ],
)
def test_a_text_within_a_line_joins_the_rest(marked: str, text: str, expected: str, size: int) -> None:
    assert middle(marked, text, size=size)[0] == expected


def test_it_is_told_apart_why_a_text_ended() -> None:
    """A model that ends by itself means the rest of the line to follow; where its tokens ran out, nothing is known."""
    assert middle("f(|, c)\n", "a, b") == ("a, b", False)
    assert middle("f(|, c)\n", "a, b", cut=True) == ("", False)
    assert middle("compu|(a)\n", "te(b, c", cut=True) == ("te", False)
    assert middle("compu|(a)\n", "te", cut=True) == ("", False)


def test_nothing_of_it_is_shown_before_it_has_joined() -> None:
    detokenizer = Detokenizer(cutters=[middle_ends("x = ", " + y\n", "python")])
    assert detokenizer.add(b"a") == "" and detokenizer.add(b" + ") == ""
    assert detokenizer.add(b"y\n") == "a" and detokenizer.stopped


def test_an_ordinary_middle_is_shown_whole() -> None:
    text = "for i in range(3):\n        print(i)\n    return 4"
    assert middle("    |\n", text) == (text, False)


def test_a_file_of_any_size_is_looked_at_near_the_cursor() -> None:
    assert middle("x\n" * 1_000_000 + "f(|)\n" + "y\n" * 1_000_000, "a)\n")[0] == "a"
    assert middle("f(|" + " x" * 1_000_000, "a x x x x x x x x x x x x x x\n")[0] == "a"


def test_a_time_budget_ends_at_a_line() -> None:
    now = 0.0
    budget = TimeBudget(1.0, lambda: now)
    assert budget.cut("a = 1\nb") is None
    now = 2.0
    assert budget.cut("a = 1\nb = ") is None
    assert budget.cut("a = 1\nb = 2\nc") == len("a = 1\nb = 2")
