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
    return sizing.choose(**{**known, **changes})


def test_by_default_a_usual_cache() -> None:
    size = choose()
    assert (size.context, size.cells) == (8192, 16384)
    assert "192 MiB" in size.reason


def test_never_more_than_the_model_was_trained_for_unless_asked() -> None:
    assert choose(trained=2048).context == 2048
    assert choose(trained=2048, asked=4096).context == 4096


def test_a_large_cell_makes_one_context_the_whole_cache() -> None:
    size = choose(cell_bytes=131072)
    assert size.cells == size.context == 8192


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
