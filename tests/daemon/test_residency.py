"""Which idle models give way."""

from threadrunner.daemon.residency import Resident, Room, make_room

GB = 1 << 30


def test_nobody_goes_while_there_is_room() -> None:
    assert make_room([Resident("a", GB, True, 0)], needed=GB, available=GB) == Room([], False)


def test_the_least_recently_used_goes_first_and_no_more_than_needed() -> None:
    loaded = [Resident("new", GB, True, 30), Resident("old", GB, True, 10), Resident("mid", GB, True, 20)]
    assert make_room(loaded, needed=GB, available=0) == Room(["old"], False)
    assert make_room(loaded, needed=2 * GB, available=0) == Room(["old", "mid"], False)


def test_a_busy_model_never_goes_but_is_waited_for() -> None:
    loaded = [Resident("busy", 4 * GB, False, 0), Resident("idle", GB, True, 10)]
    assert make_room(loaded, needed=GB, available=0) == Room(["idle"], False)
    assert make_room(loaded, needed=2 * GB, available=0) == Room(["idle"], True)
    assert make_room(loaded[:1], needed=2 * GB, available=0) == Room([], True)


def test_nothing_is_unloaded_for_nothing() -> None:
    assert make_room([Resident("idle", GB, True, 0)], needed=9 * GB, available=0) == Room([], False)
