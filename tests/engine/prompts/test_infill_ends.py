from __future__ import annotations

import pytest

from threadrunner.engine.prompts.detokenizer import Detokenizer
from threadrunner.engine.prompts.infill_ends import MiddleEnds, TimeBudget


def middle(head: str, suffix: str, text: str, size: int = 3) -> tuple[str, bool]:
    """The text fed in pieces of `size` characters; what came out, and whether a stop ended it."""
    detokenizer = Detokenizer(cutters=[MiddleEnds(head, suffix)])
    shown = ""
    for at in range(0, len(text), size):
        shown += detokenizer.add(text[at : at + size].encode())
        if detokenizer.stopped:
            assert shown == detokenizer.text
            return shown, True
    assert detokenizer.text.startswith(shown)
    return shown + detokenizer.finish(), False


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("head", "suffix", "text", "expected"),
    [
        ("    x = f(", ")\n    return x\n", "a, b)\n    return x", "a, b"),
        ("    x", "\n    return x\n", " = 1\n    return x\n", " = 1"),
        ("def f():\n    ", "", "return 1\n\n\n\nx", "return 1"),
        ("    ", "", "return 1\ndef g():", "return 1"),
        ("    ", "\n    z = 3", "return 1\ny = 2", "return 1"),
        ("    ", "\nclass B:", "return 1\nif a:", "return 1\nif a:"),
    ],
)
def test_where_a_middle_ends(head: str, suffix: str, text: str, expected: str, size: int) -> None:
    assert middle(head, suffix, text, size)[0] == expected


def test_an_ordinary_middle_is_shown_whole() -> None:
    text = "for i in range(3):\n        print(i)\n    return 4"
    assert middle("    ", "\n", text) == (text, False)


def test_a_time_budget_ends_at_a_line() -> None:
    now = 0.0
    budget = TimeBudget(1.0, lambda: now)
    assert budget.cut("a = 1\nb") is None
    now = 2.0
    assert budget.cut("a = 1\nb = ") is None
    assert budget.cut("a = 1\nb = 2\nc") == len("a = 1\nb = 2")
