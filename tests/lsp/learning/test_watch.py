"""What became of a suggestion, read from the text alone."""

from __future__ import annotations

import pytest
from lsprotocol import types as lsp

from threadrunner.lsp.learning.watch import GLANCE, Became, Open, became, is_outcome
from threadrunner.lsp.suggest.documents import Document, Place

URI = "file:///work/a.py"


class Scene:
    """`text` with the cursor at `|`, and a suggestion there."""

    def __init__(self, text: str, suggestion: str, shown: bool = True) -> None:
        before, behind = text.split("|")
        self.document = Document(URI, "/work/a.py", "python", 1, before + behind)
        self.place = Place(before.count("\n"), len(before) - before.rfind("\n") - 1)
        tail, lines = self.document.tail(self.place), len(self.document.lines)
        self.open = Open("0a", suggestion, self.place, tail, lines, [], 0.5, shown, 0.0)

    def types(self, *texts: str) -> list[Became | None]:
        """What is known after each of the texts has come."""
        found: list[Became | None] = []
        for text in texts:
            here = lsp.Position(self.place.line, self.place.column)
            self.document.change(lsp.Range(here, here), text)
            self.place = self.document.focus
            found.append(became(self.open, self.document, self.document.focus))
        return found


def test_taken_at_once() -> None:
    assert Scene("x = |\n", "a + b").types("a + b") == ["taken"]


def test_a_word_of_it_is_taken() -> None:
    assert Scene("x = |\n", "alpha + b").types("alpha") == ["taken"]


def test_taken_after_its_first_characters_were_typed() -> None:
    assert Scene("x = |\n", "alpha + b").types("a", "l", "pha + b") == [None, None, "taken"]


def test_its_first_line_is_typed_by_hand() -> None:
    assert Scene("x = |\n", "ab\ncd").types("a", "b") == [None, "typed"]


def test_another_character_makes_it_wrong() -> None:
    assert Scene("x = |\n", "alpha").types("a", "m") == [None, "wrong"]


def test_enter_with_an_indentation_is_a_key() -> None:
    assert Scene("if x:|\n", "\n    return y").types("\n    ", "r") == [None, None]


def test_the_pair_that_an_editor_makes_is_a_key() -> None:
    assert Scene("f|\n", "(a, b)").types("()") == [None]


def test_what_is_behind_the_cursor_stays() -> None:
    assert Scene("f(|) + 1\n", "alpha").types("alpha") == ["taken"]


def test_a_character_taken_back_says_nothing() -> None:
    scene = Scene("x = |\n", "alpha")
    scene.types("a")
    scene.document.change(lsp.Range(lsp.Position(0, 4), lsp.Position(0, 5)), "")
    assert became(scene.open, scene.document, scene.document.focus) is None
    assert scene.open.typed == 0


@pytest.mark.parametrize("line", [0, 3])
def test_whoever_goes_elsewhere_says_nothing_of_it(line: int) -> None:
    scene = Scene("a\nb\nx = |\nc\n", "alpha")
    here = lsp.Position(line, 0)
    scene.document.change(lsp.Range(here, here), "z")
    assert became(scene.open, scene.document, scene.document.focus) == "gone"


def test_a_change_of_the_whole_text_far_away_says_nothing() -> None:
    scene = Scene("a\nx = |\n", "alpha")
    scene.document.change(None, "b\n")
    assert became(scene.open, scene.document, None) == "gone"


@pytest.mark.parametrize(
    ("end", "stood", "said"),
    [
        ("wrong", GLANCE, True),
        ("wrong", GLANCE - 0.01, False),
        ("wrong", 0.0, False),
        ("typed", GLANCE, True),
        ("typed", GLANCE - 0.01, False),
        ("taken", 0.0, True),
        ("gone", 60.0, False),
    ],
)
def test_what_was_typed_before_a_look_was_possible_says_nothing(end: Became, stood: float, said: bool) -> None:
    assert is_outcome(end, stood) is said
