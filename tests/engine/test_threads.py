from __future__ import annotations

import pytest

from threadrunner.engine.threads import LOOK_EVERY, Threads
from threadrunner.machine import Clocks

CORES = 4


class Machine:
    """Cores that others use some of; what is left of them goes to us, up to a core a thread."""

    def __init__(self) -> None:
        self.wall = self.own = self.idle = 0.0

    def clocks(self) -> Clocks:
        return Clocks(self.wall, self.own, self.idle)

    def run(self, seconds: float, threads: int, others: float) -> None:
        wanted = threads + others
        ours = threads if wanted <= CORES else CORES * threads / wanted
        self.wall += seconds
        self.own += ours * seconds
        self.idle += max(0.0, CORES - wanted) * seconds


def settle(threads: Threads, machine: Machine, others: float) -> int:
    for _ in range(5):
        machine.run(LOOK_EVERY, threads.now, others)
        threads.look(machine.clocks())
    return threads.now


@pytest.mark.parametrize(("others", "left"), [(0, 4), (0.3, 4), (1, 3), (2, 2), (3, 1), (4, 1), (9, 1)])
def test_others_keep_their_cores_and_get_ours_back_when_they_end(others: float, left: int) -> None:
    machine = Machine()
    threads = Threads(CORES, machine.clocks())
    assert settle(threads, machine, others) == left
    assert settle(threads, machine, 0) == CORES


def test_one_look_is_enough_beside_one_busy_program() -> None:
    machine = Machine()
    threads = Threads(CORES, machine.clocks())
    machine.run(LOOK_EVERY, CORES, 1)
    assert threads.look(machine.clocks()) == 3


def test_two_models_share_the_cores() -> None:
    machines = Machine(), Machine()
    both = [Threads(CORES, machine.clocks()) for machine in machines]
    for _ in range(5):
        counts = [threads.now for threads in both]
        for machine, threads, other in zip(machines, both, reversed(counts), strict=True):
            machine.run(LOOK_EVERY, threads.now, other)
        for machine, threads in zip(machines, both, strict=True):
            threads.look(machine.clocks())
    assert [threads.now for threads in both] == [2, 2]


def test_what_others_took_while_we_were_idle_says_nothing_about_now() -> None:
    machine = Machine()
    threads = Threads(CORES, machine.clocks())
    machine.run(60.0, 0, 4)
    assert threads.look(machine.clocks()) == 4
    assert settle(threads, machine, 2) == 2


def test_cores_that_none_used_while_we_were_idle_are_ours() -> None:
    """A completion now and then never fills a look: after one busy moment it had one thread for ever."""
    machine = Machine()
    threads = Threads(CORES, machine.clocks())
    assert settle(threads, machine, 9) == 1
    machine.run(0.28, 0, 2)
    machine.run(0.02, threads.now, 2)
    assert threads.look(machine.clocks()) == 2
    machine.run(0.28, 0, 0)
    machine.run(0.02, threads.now, 0)
    assert threads.look(machine.clocks()) == 4


def test_it_looks_once_an_interval_and_never_without_clocks_or_with_one_thread() -> None:
    machine = Machine()
    threads = Threads(CORES, machine.clocks())
    assert not threads.due(LOOK_EVERY / 2)
    assert threads.due(LOOK_EVERY)
    assert not Threads(CORES, None).due(LOOK_EVERY)
    assert not Threads(1, machine.clocks()).due(LOOK_EVERY)


def test_prompts_have_a_number_of_their_own_and_share_what_is_left() -> None:
    machine = Machine()
    threads = Threads(2, machine.clocks(), prefill=CORES)
    assert (threads.decode, threads.prefill) == (2, CORES)
    settle(threads, machine, 3)
    assert (threads.decode, threads.prefill) == (1, 1)
    settle(threads, machine, 0)
    assert (threads.decode, threads.prefill) == (2, CORES)
    assert Threads(3, None).prefill == 3
