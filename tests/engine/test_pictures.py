"""Pictures among tokens: which places they have, and where llama.cpp has these."""

from __future__ import annotations

import pytest

from threadrunner.engine.llama.row_batch import by_line, in_order
from threadrunner.engine.pictures import PLAIN, Picture, Positions, places, position, turned, whole

TURNING = Positions(turning=True)
PICTURE = Picture(b"", b"digest")


def test_a_part_is_whole_or_not_at_all() -> None:
    tokens = [1, 2, *places(PICTURE, 0, 6, 3), 3]
    assert [whole(tokens, length) for length in range(len(tokens) + 1)] == [0, 1, 2, 2, 2, 2, 2, 2, 8, 9]
    assert places(PICTURE, 0, 6)[:5] == tokens[2:7]
    assert places(PICTURE, 1, 6, 3) != tokens[2:8]


def test_positions_behind_a_turned_part_go_on_from_its_longer_side() -> None:
    tokens = [1, 2, *places(PICTURE, 0, 6, 3), *places(PICTURE, 1, 8, 4), 3, 4, *places(PICTURE, 2, 1, 1), 5]
    found = TURNING.of(tokens, *range(len(tokens) + 1))
    assert found == (0, 1, *[2] * 6, *[5] * 8, 9, 10, 11, 12, 13)
    assert PLAIN.of(tokens, 3, 9) == (3, 9)


def test_a_sequence_may_begin_or_end_with_one() -> None:
    tokens = places(PICTURE, 0, 6, 3)
    assert TURNING.of(tokens, 0, 1, 5, 6) == (0, 0, 0, 3)
    assert TURNING.of([1 << 30, *tokens[1:]], 5, 6) == (0, 3), "adapters mark a sequence's first token in caches"
    assert TURNING.of([7, *tokens[:4]], 1, 3, 5) == (1, 1, 1), "what is cut short is no range of cells"


def test_ranges_that_follow_one_another_miss_nothing() -> None:
    tokens = [1, *places(PICTURE, 0, 40, 9), 2, 3]
    for size in (1, 2, 7, 16, 64):
        bounds = [*range(0, len(tokens), size), len(tokens)]
        found = TURNING.of(tokens, *bounds)
        assert list(found) == sorted(found)
        assert (found[0], found[-1]) == (0, 12)


def test_where_rows_are() -> None:
    assert in_order(5, 3) == (3, [5, 6, 7])
    assert by_line(5, 2, 3, 2) == (3, [5, 5, 5, 6, 6, 7, 5, 6, 5, 0, 0, 0])


@pytest.mark.parametrize("place", range(12))
def test_spans_and_tokens_say_the_same(place: int) -> None:
    tokens = [1, 2, *places(PICTURE, 0, 6, 3), 3, 4, 5]
    assert turned(tokens) == [(2, 8, 3)]
    assert (position(turned(tokens), place),) == TURNING.of(tokens, place)
