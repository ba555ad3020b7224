from __future__ import annotations

import pytest

from threadrunner.engine import sizing
from threadrunner.engine.llama.errors import LoadError

MIB = 1 << 20


def choose(**changes: int) -> sizing.Size:
    known = {
        "asked": 0,
        "trained": 32768,
        "cell_bytes": 12288,
        "model_bytes": 400 * MIB,
        "free": 16384 * MIB,
        "limit": 0,
    }
    return sizing.choose(sizing.Wishes(**{**known, **changes}))  # type: ignore[arg-type]


def test_by_default_room_for_an_agent_and_few_cells_to_begin_with() -> None:
    size = choose()
    assert (size.context, size.cells, size.first_cells) == (32768, 65536, 2048)
    assert size.ram_bytes == 2048 * MIB
    assert "768 MiB" in size.reason


def test_what_cannot_grow_is_taken_at_once_and_is_no_larger_than_usual() -> None:
    size = choose(grows=False)
    assert (size.context, size.cells, size.first_cells) == (8192, 16384, 16384)


def test_finished_requests_get_what_is_asked_as_far_as_there_is_room() -> None:
    assert choose(ram=0).ram_bytes == 0
    assert choose(ram=5000 * MIB).ram_bytes == 5000 * MIB
    size = choose(ram=50_000 * MIB)
    assert size.ram_bytes + size.cells * 12288 <= 8192 * MIB
    assert size.ram_bytes > 7000 * MIB


def test_a_context_that_was_not_asked_leaves_something_for_finished_requests() -> None:
    size = choose(free=400 * MIB)
    assert size.ram_bytes >= 45 * MIB
    assert size.cells * 12288 + size.ram_bytes <= 200 * MIB


def test_a_block_is_moved_in_a_moment() -> None:
    assert choose().block_tokens == 256
    assert choose(cell_bytes=131072).block_tokens == 64
    assert choose(cell_bytes=1 << 20).block_tokens == 32


def test_never_more_than_the_model_was_trained_for_unless_asked() -> None:
    assert choose(trained=2048).context == 2048
    assert choose(trained=2048, asked=4096).context == 4096


def test_a_large_cell_makes_the_context_smaller() -> None:
    size = choose(cell_bytes=131072, free=4096 * MIB, ram=0)
    assert size.context == 12288
    assert size.cells == 16384


def test_half_of_free_memory_bounds_it_and_the_reason_says_so() -> None:
    size = choose(free=100 * MIB)
    assert size.cells * 12288 <= 50 * MIB
    assert "free memory" in size.reason


def test_the_memory_limit_counts_the_model() -> None:
    size = choose(limit=620 * MIB)
    assert size.cells * 12288 <= 28 * MIB
    assert "memory limit" in size.reason


@pytest.mark.parametrize("changes", [{"limit": 500 * MIB}, {"free": 2 * MIB}, {"asked": 100_000, "free": 1024 * MIB}])
def test_what_does_not_fit_is_an_error_before_it_is_taken(changes: dict[str, int]) -> None:
    with pytest.raises(LoadError, match="MiB"):
        choose(**changes)


def test_states_are_counted_before_the_cells() -> None:
    size = choose(state_bytes=4 * MIB, limit=620 * MIB)
    assert size.sequences == 1
    assert 2 * 4 * MIB + size.cells * 12288 + size.ram_bytes <= 28 * MIB
    assert "2 states" in size.reason
    assert choose(state_bytes=4 * MIB).sequences == 16


def test_two_states_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(LoadError, match="two states of 20 MiB"):
        choose(state_bytes=20 * MIB, limit=620 * MIB)
