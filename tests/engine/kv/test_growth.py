from __future__ import annotations

import pytest

from tests.engine.kv.memory import FakeMemory
from tests.engine.kv.test_cells import cells_on, evaluated
from threadrunner.engine.kv.growth import Growth, next_size
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.sequence import Sequence


@pytest.mark.parametrize(
    ("cells", "lacking", "max_cells", "wanted"),
    [(2048, 1, 65536, 4096), (2048, 5000, 65536, 7168), (2048, 1, 3000, 3000), (2048, 9999, 3000, 3000)],
)
def test_twice_as_many_or_what_is_needed_and_no_more_than_allowed(
    cells: int, lacking: int, max_cells: int, wanted: int
) -> None:
    assert next_size(cells, lacking, max_cells) == wanted


class Larger(FakeMemory):
    """Cells that are made anew."""

    fails = False

    def resize(self, n_cells: int) -> None:
        assert self.used == 0, "what is in them is lost"
        if self.fails:
            raise LoadError("no memory")
        self.n_cells = n_cells


def test_what_runs_goes_on_in_the_larger_context_and_what_is_kept_is_not_lost() -> None:
    memory = Larger(600, 4)
    cells = cells_on(memory, ram=1 << 20, block=32)
    cells.finish(evaluated(memory, cells, [1] * 100))
    running = [evaluated(memory, cells, [2] * 100, size=50), evaluated(memory, cells, [3] * 80, size=79)]
    left_out: list[Sequence] = []
    growth = Growth(memory, cells, 1000, left_out.append)
    assert growth.grow(1) and not left_out
    assert memory.n_cells == 1000
    assert [(s.evaluated, len(memory.tokens(s.seq))) for s in running] == [(50, 50), (79, 79)]
    assert evaluated(memory, cells, [1] * 101, size=100).cached == 100
    assert not growth.grow(1), "it is as large as it may be"


def test_where_there_is_no_memory_all_goes_on_as_before() -> None:
    memory = Larger(600, 4)
    memory.fails = True
    cells = cells_on(memory, ram=1 << 20, block=32)
    running = evaluated(memory, cells, [2] * 100, size=50)
    left_out: list[Sequence] = []
    growth = Growth(memory, cells, 1000, left_out.append)
    assert growth.grow(1) and not left_out
    assert (memory.n_cells, running.evaluated) == (600, 50)
    assert not growth.grow(1)


def test_a_context_whose_sequences_cannot_be_moved_stays_as_it_is() -> None:
    memory = Larger(600, 4)
    cells = cells_on(memory)
    evaluated(memory, cells, [2] * 100, size=50)
    assert not Growth(memory, cells, 1000, [].append).grow(1)
