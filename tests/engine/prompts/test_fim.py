from __future__ import annotations

from threadrunner.engine.prompts.fim import LINES_AFTER_ANCHOR, MAX_TYPED_LINES, PREFIX_CHARS, Anchors

LINES = [f"line {i} of the file\n" for i in range(600)]
FILE = "".join(LINES)


def test_a_new_anchor_stands_some_lines_above_the_cursor() -> None:
    split = Anchors().split("a.py", FILE[:1000], "\nrest", 1.0)
    assert split.before + split.typed == FILE[:1000]
    assert split.before.endswith("\n")
    assert split.typed.count("\n") == LINES_AFTER_ANCHOR


def test_the_anchor_stays_while_somebody_types_across_lines() -> None:
    anchors = Anchors()
    prefix = FILE[:20_000]
    first = anchors.split("a.py", prefix, "\nrest")
    typed = "".join(f"    x{i} = {i}\n" for i in range(15))
    for i in range(len(typed)):
        split = anchors.split("a.py", prefix + typed[:i], "\nrest")
        assert (split.before, split.after) == (first.before, first.after)
        assert split.typed == first.typed + typed[:i]


def test_it_moves_when_much_was_typed_or_the_cursor_went_elsewhere() -> None:
    anchors = Anchors()
    first = anchors.split("a.py", FILE[:3000], "\nrest")
    grown = FILE[:3000] + "x\n" * (MAX_TYPED_LINES + 1)
    assert anchors.split("a.py", grown, "\nrest").before != first.before
    elsewhere = anchors.split("a.py", FILE[:1500], "\nrest")
    assert elsewhere.before != first.before
    assert anchors.split("a.py", FILE[:3000] + "x", "\nrest").before == first.before


def test_files_and_suffixes_do_not_share_an_anchor() -> None:
    anchors = Anchors()
    anchors.split("a.py", FILE[:3000], "\nrest")
    assert anchors.split("b.py", FILE[:3000] + "\n" * 8, "\nrest").typed.count("\n") == LINES_AFTER_ANCHOR
    assert anchors.split("a.py", FILE[:3000] + "\n" * 8, "\nother").after == "\nother"


def test_the_window_moves_by_many_lines_at_once() -> None:
    begins = set()
    for lines in range(400, 464):
        split = Anchors().split("a.py", "".join(LINES[:lines]), "")
        text = split.before + split.typed
        assert 0 < len(text) <= PREFIX_CHARS
        begins.add(text.partition("\n")[0])
    assert len(begins) <= 3


def test_a_long_line_or_none_at_all() -> None:
    assert len(Anchors().split("a.py", "x" * 50_000, "y" * 50_000).after) <= 2000
    empty = Anchors().split("a.py", "", "")
    assert (empty.before, empty.typed, empty.after) == ("", "", "")
