from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from threadrunner.engine.prompts.detokenizer import Detokenizer


def say(detokenizer: Detokenizer, pieces: list[bytes]) -> str:
    shown = ""
    for piece in pieces:
        shown += detokenizer.add(piece)
        assert detokenizer.text.startswith(shown)
        if detokenizer.stopped:
            return shown
    return shown + detokenizer.finish()


def cut_up(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.text(), st.lists(st.integers(0, 1000)))
def test_whole_characters_however_the_bytes_are_cut(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", "surrogatepass")
    detokenizer = Detokenizer()
    expected = data.decode("utf-8", "replace")
    assert say(detokenizer, cut_up(data, cuts)) == detokenizer.text == expected


@given(
    st.text("ab\u00e9", max_size=30),
    st.lists(st.integers(0, 60)),
    st.lists(st.text("ab\u00e9", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_a_stop_is_found_wherever_the_pieces_break(text: str, cuts: list[int], stops: list[str]) -> None:
    detokenizer = Detokenizer(stops)
    shown = say(detokenizer, cut_up(text.encode(), cuts))
    assert shown == detokenizer.text
    assert not any(stop in shown for stop in stops)
    # pieces may end just before a stop is complete, never after: what was shown is the text before the first stop
    first = min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))
    complete = min((at + len(stop) for stop in stops if (at := text.find(stop)) >= 0), default=len(text))
    assert text.startswith(shown)
    assert first <= len(shown) <= complete or not detokenizer.stopped
    assert (detokenizer.stop in stops) == detokenizer.stopped


def test_nothing_is_shown_that_may_begin_a_stop() -> None:
    detokenizer = Detokenizer(["STOP"])
    assert detokenizer.add(b"go S") == "go "
    assert detokenizer.add(b"TO") == ""
    assert detokenizer.add(b"N") == "STON"


def test_half_a_character_at_the_end_is_dropped() -> None:
    detokenizer = Detokenizer()
    assert say(detokenizer, [b"a", "\u20ac".encode()[:2]]) == "a"


def test_what_healing_said_again_is_not_part_of_the_text() -> None:
    detokenizer = Detokenizer(skip=3)
    assert say(detokenizer, [b"de", b"fi", b"ne"]) == "ine"
