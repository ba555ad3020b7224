"""Positions and incremental changes, in all three encodings, against the plainest possible model."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.lsp.suggest.documents import (
    UTF8,
    UTF16,
    UTF32,
    WORD_LIMIT,
    Document,
    Place,
    sound,
    split_lines,
    to_column,
    to_units,
)

ENCODINGS = (UTF8, UTF16, UTF32)


@dataclass
class At:
    line: int
    character: int


@dataclass
class Span:
    start: At
    end: At


def doc(text: str, encoding: str = UTF16) -> Document:
    return Document("file:///a.py", "/a.py", "python", 1, text, encoding)


def test_a_line_ends_where_lsp_says_and_nowhere_else() -> None:
    assert split_lines("a\fb\u2028c\x0bd\n") == ["a\fb\u2028c\x0bd\n", ""]
    assert split_lines("a\r\nb\rc\nd") == ["a\r\n", "b\r", "c\n", "d"]
    assert split_lines("") == [""]
    assert split_lines("\r\n") == ["\r\n", ""]


@pytest.mark.parametrize(
    ("encoding", "units"), [(UTF8, [0, 1, 3, 6, 10]), (UTF16, [0, 1, 2, 3, 5]), (UTF32, [0, 1, 2, 3, 4])]
)
def test_units_of_each_encoding(encoding: str, units: list[int]) -> None:
    line = "aé€😀\n"  # 1, 2, 3 and 4 bytes
    assert [to_units(line, column, encoding) for column in range(5)] == units
    assert [to_column(line, unit, encoding) for unit in units] == [0, 1, 2, 3, 4]


def test_past_the_end_is_the_end() -> None:
    document = doc("ab\r\ncd")
    assert document.place(At(0, 99)) == Place(0, 2)
    assert document.place(At(9, 0)) == Place(1, 2)
    assert document.place(At(1, 99)) == Place(1, 2)
    assert doc("").place(At(3, 3)) == Place(0, 0)
    assert doc("ab\n").place(At(1, 5)) == Place(1, 0)


def test_inside_a_surrogate_pair_is_before_it() -> None:
    assert to_column("😀x", 1, UTF16) == 0
    assert to_column("é", 1, UTF8) == 0


def test_line_end_of_the_document() -> None:
    assert doc("a\r\nb\n").line_end == "\r\n"
    assert doc("a").line_end == "\n"
    assert doc("").line_end == "\n"


def test_the_word_before_the_place() -> None:
    document = doc("x = größe.na")
    assert document.word_start(Place(0, 12)) == Place(0, 10)
    assert document.word_start(Place(0, 10)) == Place(0, 10)
    assert document.word_start(Place(0, 9)) == Place(0, 4)


def test_a_word_without_an_end_is_none() -> None:
    long = "a" * 2 * WORD_LIMIT
    assert doc(long).word_start(Place(0, WORD_LIMIT)) == Place(0, 0)
    assert doc(long).word_start(Place(0, WORD_LIMIT + 1)) == Place(0, WORD_LIMIT + 1)
    assert doc(f"({long[:WORD_LIMIT]}").word_start(Place(0, WORD_LIMIT)) == Place(0, 1)


def test_halves_of_a_character_come_and_go() -> None:
    """VS Code replaces 😀 by 😁 with a change of the second half only."""
    document = doc("x😀y")
    document.change(Span(At(0, 2), At(0, 3)), "\ude01")
    assert document.whole() == "x😁y"
    document.change(Span(At(0, 2), At(0, 4)), "")
    assert document.whole() == "x\ud83d" and sound(document.whole()) == "x\ufffd"
    document.change(Span(At(0, 2), At(0, 2)), "\ude00z")
    assert document.whole() == "x😀z"


@given(
    before=st.lists(st.sampled_from(["a", "é", "\ud83d", "\ude00", "😀"]), max_size=8),
    insert=st.lists(st.sampled_from(["b", "\ud83d", "\ude00", "😀"]), max_size=4),
    spots=st.tuples(st.integers(0, 16), st.integers(0, 16)),
)
def test_a_change_in_utf16_is_one_of_code_units(before: list[str], insert: list[str], spots: tuple[int, int]) -> None:
    def units(text: str) -> bytes:
        return text.encode("utf-16-le", "surrogatepass")

    document = doc("".join(before))
    size = len(units("".join(before))) // 2
    start, end = sorted(min(spot, size) for spot in spots)
    document.change(Span(At(0, start), At(0, end)), "".join(insert))
    expected = units("".join(before))
    expected = expected[: 2 * start] + units("".join(insert)) + expected[2 * end :]
    assert units(document.whole()) == expected
    assert document.lines == [expected.decode("utf-16-le", "surrogatepass")]


def test_text_between() -> None:
    document = doc("one\ntwo\nthree")
    assert document.between(Place(0, 1), Place(2, 2)) == "ne\ntwo\nth"
    assert document.between(Place(1, 1), Place(1, 2)) == "w"


def test_a_cr_and_an_lf_that_meet_are_one_line_end() -> None:
    document = doc("a\r\nb")
    document.change(Span(At(0, 1), At(1, 0)), "\r")
    assert document.lines == ["a\r", "b"]
    document.change(Span(At(1, 0), At(1, 0)), "\n")
    assert document.lines == ["a\r\n", "b"]


text = st.text(alphabet="ab \t\r\n\f\u2028é€😀", max_size=30)


@given(
    before=text,
    insert=text,
    spots=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    encoding=st.sampled_from(ENCODINGS),
)
def test_a_change_is_a_change_of_the_text(before: str, insert: str, spots: tuple[int, int], encoding: str) -> None:
    document = doc(before, encoding)
    places = sorted(place_of(before, min(spot, len(before))) for spot in spots)
    start, end = (At(*document.units(Place(*place))) for place in places)
    offsets = [offset_of(before, place) for place in places]
    document.change(Span(start, end), insert)
    assert document.whole() == before[: offsets[0]] + insert + before[offsets[1] :]
    assert document.lines == split_lines(document.whole())


@given(line=st.text(alphabet="aé€😀\t", max_size=12), column=st.integers(0, 12), encoding=st.sampled_from(ENCODINGS))
def test_units_there_and_back(line: str, column: int, encoding: str) -> None:
    column = min(column, len(line))
    assert to_column(line, to_units(line, column, encoding), encoding) == column


def place_of(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset; inside a CRLF it is the line's end, as a client would say it."""
    at = 0
    for number, line in enumerate(split_lines(text)):
        if offset < at + len(line) or at + len(line) == len(text):
            return number, min(offset - at, len(line.rstrip("\r\n")))
        at += len(line)
    raise AssertionError


def offset_of(text: str, place: tuple[int, int]) -> int:
    return sum(len(line) for line in split_lines(text)[: place[0]]) + place[1]
