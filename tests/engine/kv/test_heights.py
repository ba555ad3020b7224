"""When moving pays, by counts alone."""

from __future__ import annotations

from threadrunner.engine.kv.heights import A_WHILE, MIN_GAP, WORTH_A_MOVE, Heights


def steps_until_a_move(heights: Heights, used: int, tokens: int, idle: int = 0) -> int | None:
    """As Cells and Compaction call it, with sequence 0 alone; None where it never comes."""
    for step in range(10_000):
        heights.wait -= 1
        if heights.wait == 0 and heights.look([0], used, idle, tokens):
            return step
    return None


def beside(*lengths: int) -> Heights:
    """Sequence 0 ran beside others of these lengths, which have left one after the other."""
    heights = Heights()
    for seq, _ in enumerate(lengths):
        heights.came(seq, None)
    for seq in range(len(lengths) - 1, 0, -1):
        heights.falls(sum(lengths[: seq + 1]))
    return heights


def test_what_ran_beside_others_is_moved_when_empty_cells_have_cost_as_much() -> None:
    heights = beside(800, *[800] * 7)
    assert heights.of(0) == 6400
    assert steps_until_a_move(heights, 800, 800) == -(-WORTH_A_MOVE * 800 // 5600)


def test_a_larger_one_waits_longer() -> None:
    few, many = (steps_until_a_move(beside(tokens, 5600), tokens, tokens) for tokens in (500, 5000))
    assert few is not None and many is not None
    assert 9 * few < many < 11 * few


def test_what_was_lost_before_counts() -> None:
    """The gap becomes larger while it waits: it waits for less than from now on."""
    heights = beside(1000, 1000)
    heights.wait = 0
    assert not heights.look([0], 1000, 0, 1000)
    assert heights.wait == WORTH_A_MOVE
    heights.wait = 0
    heights.falls(4000)
    heights.wait = 0
    assert heights.look([0], 1000, 0, 1000), "32 steps of 1,000 cells were paid"


def test_where_little_is_empty_it_stays() -> None:
    assert steps_until_a_move(beside(800, MIN_GAP - 1), 800, 800) is None
    assert steps_until_a_move(beside(800, MIN_GAP), 800, 800) is not None


def test_one_that_comes_after_the_others_have_left_is_low() -> None:
    heights = beside(800, *[800] * 7)
    heights.came(0, None)
    assert steps_until_a_move(heights, 800, 800) is None


def test_one_that_shares_the_cells_of_a_high_one_is_as_high() -> None:
    heights = beside(800, *[800] * 7)
    heights.came(9, 0)
    heights.wait = 0
    assert heights.of(9) == 6400
    assert not heights.look([9], 800, 0, 800)
    assert heights.wait > 0


def test_it_waits_for_those_that_will_leave() -> None:
    heights = beside(800, *[800] * 7)
    assert steps_until_a_move(heights, 800, 800, idle=2000) is None
    assert 0 < heights.wait <= A_WHILE


def test_it_moves_once() -> None:
    heights = beside(800, *[800] * 7)
    assert steps_until_a_move(heights, 800, 800) is not None
    heights.moved([0], 800)
    assert steps_until_a_move(heights, 900, 900) is None
    heights.falls(900)
    assert steps_until_a_move(heights, 900, 900) is None, "of all that leaves again there was nothing above it"


def test_in_a_steady_run_nothing_is_looked_at() -> None:
    heights = Heights()
    heights.came(0, None)
    assert all(heights.wait - step != 0 for step in range(1, 1000))
