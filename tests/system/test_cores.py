"""Threads that compute side by side do not wake up on one core."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from threadrunner.system.cores import others_elsewhere

if sys.platform != "linux":
    pytest.skip("only Linux lets a thread be told its cores", allow_module_level=True)
OURS = os.sched_getaffinity(0)
pytestmark = pytest.mark.skipif(len(OURS) < 2, reason="with one core there is no other")


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A thread that sleeps."""
    number, awake, end = [0], threading.Event(), threading.Event()

    def sleep() -> None:
        number[0] = threading.get_native_id()
        awake.set()
        end.wait()

    thread = threading.Thread(target=sleep)
    thread.start()
    awake.wait()
    yield number[0]
    end.set()
    thread.join()


def test_the_others_are_kept_off_one_core_and_only_meanwhile(sleeper: int) -> None:
    with others_elsewhere(2):
        assert len(os.sched_getaffinity(sleeper)) == len(OURS) - 1
        assert os.sched_getaffinity(sleeper) < OURS
        assert os.sched_getaffinity(0) == OURS
    assert os.sched_getaffinity(sleeper) == OURS


def test_with_one_core_for_all_nothing_moves(sleeper: int) -> None:
    only = {min(OURS)}
    os.sched_setaffinity(0, only)
    os.sched_setaffinity(sleeper, only)
    try:
        with others_elsewhere(2):
            assert os.sched_getaffinity(sleeper) == only
    finally:
        os.sched_setaffinity(0, OURS)


@pytest.mark.parametrize("threads", [1, len(OURS) + 1])
def test_nor_where_one_computes_or_more_than_there_are_cores(sleeper: int, threads: int) -> None:
    with others_elsewhere(threads):
        assert os.sched_getaffinity(sleeper) == OURS


def test_a_thread_whose_cores_were_chosen_keeps_them(sleeper: int) -> None:
    chosen = {max(OURS)}
    os.sched_setaffinity(sleeper, chosen)
    with others_elsewhere(2):
        assert os.sched_getaffinity(sleeper) == chosen
    assert os.sched_getaffinity(sleeper) == chosen


def test_what_is_chosen_meanwhile_stays(sleeper: int) -> None:
    """By `taskset -ap`, say."""
    chosen = {min(OURS)}
    with others_elsewhere(2):
        narrowed = os.sched_getaffinity(sleeper)
        if narrowed == chosen:
            chosen = {max(OURS)}
        os.sched_setaffinity(sleeper, chosen)
    assert os.sched_getaffinity(sleeper) == chosen


def test_they_are_let_go_when_the_work_fails(sleeper: int) -> None:
    with pytest.raises(ZeroDivisionError), others_elsewhere(2):
        raise ZeroDivisionError
    assert os.sched_getaffinity(sleeper) == OURS
