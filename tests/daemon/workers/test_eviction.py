"""Which idle models give way."""

from typing import Any

from threadrunner.daemon.workers import vram
from threadrunner.daemon.workers.eviction import NO_VRAM, EvictionCandidate, EvictionPlan, VramNeed, plan

GB = 1 << 30


def test_nobody_goes_while_there_is_room() -> None:
    assert plan([EvictionCandidate("a", GB, True, 0)], needed=GB, available=GB) == EvictionPlan([], False)


def test_the_least_recently_used_goes_first_and_no_more_than_needed() -> None:
    loaded = [
        EvictionCandidate("new", GB, True, 30),
        EvictionCandidate("old", GB, True, 10),
        EvictionCandidate("mid", GB, True, 20),
    ]
    assert plan(loaded, needed=GB, available=0) == EvictionPlan(["old"], False)
    assert plan(loaded, needed=2 * GB, available=0) == EvictionPlan(["old", "mid"], False)


def test_a_busy_model_never_goes_but_is_waited_for() -> None:
    loaded = [EvictionCandidate("busy", 4 * GB, False, 0), EvictionCandidate("idle", GB, True, 10)]
    assert plan(loaded, needed=GB, available=0) == EvictionPlan(["idle"], False)
    assert plan(loaded, needed=2 * GB, available=0) == EvictionPlan(["idle"], True)
    assert plan(loaded[:1], needed=2 * GB, available=0) == EvictionPlan([], True)


def test_nothing_is_unloaded_for_nothing() -> None:
    assert plan([EvictionCandidate("idle", GB, True, 0)], needed=9 * GB, available=0) == EvictionPlan([], False)


class TestVram:
    LOADED = (
        EvictionCandidate("old, in memory", GB, True, 10),
        EvictionCandidate("on the GPU", GB, True, 20, vram_bytes=4 * GB),
        EvictionCandidate("on it too", GB, True, 30, vram_bytes=2 * GB),
    )

    def plan(self, needed: int, available: int, patient: bool = False, short: int = 0) -> EvictionPlan:
        return plan(list(self.LOADED), short, 0, VramNeed(needed * GB, available * GB, patient))

    def test_those_go_that_have_some_of_it(self) -> None:
        assert self.plan(4, 4) == EvictionPlan([], False)
        assert self.plan(5, 4) == EvictionPlan(["on the GPU"], False)
        assert self.plan(9, 4) == EvictionPlan(["on the GPU", "on it too"], False)

    def test_where_both_are_short_one_order_serves_both(self) -> None:
        assert self.plan(5, 4, short=GB) == EvictionPlan(["old, in memory", "on the GPU"], False)

    def test_what_cannot_be_had_is_not_waited_for(self) -> None:
        """A newcomer that takes what fits loads fewer layers; one that does not is told by its load."""
        assert self.plan(99, 0, patient=True) == EvictionPlan(["on the GPU", "on it too"], False)

    def test_a_busy_one_is_waited_for_by_those_that_must(self) -> None:
        busy = [EvictionCandidate("busy", GB, False, 10, vram_bytes=4 * GB)]
        assert plan(busy, 0, 0, VramNeed(GB, 0, patient=True)) == EvictionPlan([], True)
        assert plan(busy, 0, 0, VramNeed(GB, 0)) == EvictionPlan([], False)


def facts(free: int, taken: int, kind: str = "gpu", total: int = 10) -> dict[str, Any]:
    device = {"name": "G", "kind": kind, "total_bytes": total, "free_bytes": free, "model_bytes": taken}
    return {"devices": [device]}


class TestWhatTheWorkersReport:
    def test_the_capacity_is_what_is_free_and_what_models_have(self) -> None:
        assert vram.held(facts(free=3, taken=4)) == 4
        assert vram.capacity(facts(free=3, taken=4), held_by_all=6) == 9
        assert vram.capacity(facts(free=10, taken=4), held_by_all=4) == 10, "a driver that keeps no count"

    def test_a_gpu_without_memory_of_its_own_counts_as_memory(self) -> None:
        assert vram.held(facts(free=3, taken=4, kind="igpu")) == 0
        assert vram.capacity({}, held_by_all=0) == 0

    def test_a_newcomer_asks_for_no_more_than_there_is(self) -> None:
        assert vram.need("auto", 20, capacity=10, held_by_all=6) == VramNeed(10, 4, patient=False)
        assert vram.need("all", 5, capacity=10, held_by_all=6) == VramNeed(5, 4, patient=True)
        assert vram.need("0", 5, capacity=10, held_by_all=6) == NO_VRAM
        assert vram.need("all", 5, capacity=0, held_by_all=0) == NO_VRAM
