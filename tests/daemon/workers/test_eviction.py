"""Which idle models give way."""

from threadrunner.daemon.workers.eviction import EvictionCandidate, EvictionPlan, plan

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
