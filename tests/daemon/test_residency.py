"""Which idle models give way."""

from threadrunner.daemon.residency import RESERVE, Resident, victims

GB = 1 << 30


def test_nobody_goes_while_there_is_room() -> None:
    assert victims([Resident("a", GB, True, 0)], needed=GB, available=GB + RESERVE) == []


def test_the_least_recently_used_goes_first_and_no_more_than_needed() -> None:
    loaded = [Resident("new", GB, True, 30), Resident("old", GB, True, 10), Resident("mid", GB, True, 20)]
    assert victims(loaded, needed=GB, available=RESERVE) == ["old"]
    assert victims(loaded, needed=2 * GB, available=RESERVE) == ["old", "mid"]


def test_a_busy_model_never_goes() -> None:
    loaded = [Resident("busy", 4 * GB, False, 0), Resident("idle", GB, True, 10)]
    assert victims(loaded, needed=GB, available=RESERVE) == ["idle"]


def test_nothing_is_unloaded_for_nothing() -> None:
    assert victims([Resident("idle", GB, True, 0)], needed=9 * GB, available=RESERVE) == []
