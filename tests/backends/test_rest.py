"""The first step after a rest: which threads compute it, and where."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded, greedy
from threadrunner import machine
from threadrunner.system import cores


def idle(now: float) -> machine.Clocks:
    """Two cores that did nothing until now."""
    return machine.Clocks(now, 0.0, 2 * now)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Loaded]:
    """A model that two threads compute."""
    with Loaded(tiny.llama(tmp_path / "m.gguf"), threads=2) as loaded:
        yield loaded


@pytest.fixture
def steps(two: Loaded, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What happens: a look at the clocks, threads that are to be kept apart, a batch; with the threads that compute."""
    seen: list[tuple[str, int]] = []
    context, decode = two.engine.context, two.engine.context.decode
    apart = cores.others_elsewhere

    def clocks() -> machine.Clocks:
        seen.append(("look", two.backend.loaded.threads.now))
        return idle(time.monotonic())

    def batch() -> int:
        seen.append(("batch", context._params.n_threads_batch))
        return decode()

    def kept_apart(threads: int) -> Any:
        seen.append(("apart", threads))
        return apart(threads)

    monkeypatch.setattr(machine, "clocks", clocks)
    monkeypatch.setattr(cores, "others_elsewhere", kept_apart)
    monkeypatch.setattr(context, "decode", batch)
    two.backend.loaded.threads._last = idle(time.monotonic() - 100)
    return seen


def test_where_a_busy_moment_has_left_one_thread_it_looks_first(two: Loaded, steps: list[tuple[str, int]]) -> None:
    """An editor's prompts are short, and are all that is asked."""
    two.backend.loaded.threads.now = 1
    two.backend.loaded.set_threads()
    two.ask(greedy("abcdefgh", max_tokens=1))
    assert steps[:3] == [("look", 1), ("apart", 2), ("batch", 2)]


def test_where_all_compute_it_does_not_look(two: Loaded, steps: list[tuple[str, int]]) -> None:
    two.ask(greedy("abcdefgh", max_tokens=1))
    assert steps == [("apart", 2), ("batch", 2)]


def test_only_the_first_step_keeps_them_apart(two: Loaded, steps: list[tuple[str, int]]) -> None:
    two.ask(greedy("abcdefgh", max_tokens=4))
    assert [what for what, _ in steps].count("apart") == 1
    two.ask(greedy("abcdefgh", max_tokens=4))
    assert [what for what, _ in steps].count("apart") == 2


def test_a_step_that_only_waits_for_a_constraint_is_not_the_first(two: Loaded, steps: list[tuple[str, int]]) -> None:
    two.ask(greedy("abcdefgh", max_tokens=4, grammar="root ::= [a-z]+"))
    whats = [what for what, _ in steps if what != "look"]
    assert whats[whats.index("batch") - 1] == "apart"
