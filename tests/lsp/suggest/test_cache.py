"""The typed-through cache, the typist and the outage: decisions, with the time passed in."""

from __future__ import annotations

from threadrunner.api.errors import NotSupported, Unreachable
from threadrunner.lsp.outage import LONGEST_PAUSE, Outage
from threadrunner.lsp.suggest.cache import Cache, Key
from threadrunner.lsp.suggest.typist import LONGEST, Typist


def cache_with(prefix: str, suffix: str, *texts: str, model: str = "m", language: str = "python") -> Cache:
    cache = Cache()
    cache.put(Key.at(model, language, prefix, suffix), list(texts))
    return cache


def test_what_was_typed_of_a_suggestion_leaves_the_rest() -> None:
    cache = cache_with("x = ", "\n", "compute(1)")
    hit = cache.get("m", "python", "x = com", "\n")
    assert hit and hit.texts == ["pute(1)"] and hit.typed == 3
    assert cache.get("m", "python", "x = con", "\n") is None
    assert cache.get("m", "python", "x = compute(1)", "\n") is None, "all of it has been typed"


def test_an_edit_beside_the_cursor_misses() -> None:
    cache = cache_with("x = ", "\ny\n", "1")
    assert cache.get("m", "python", "x = ", "\nz\n") is None
    assert cache.get("other", "python", "x = ", "\ny\n") is None
    assert cache.get("m", "rust", "x = ", "\ny\n") is None


def test_an_edit_far_away_does_not() -> None:
    cache = cache_with("a" * 1000 + "x = ", "\n" + "b" * 1000, "1")
    hit = cache.get("m", "python", "c" + "a" * 999 + "x = ", "\n" + "b" * 999 + "c")
    assert hit and hit.texts == ["1"]


def test_nothing_to_suggest_is_remembered_for_its_place_only() -> None:
    cache = cache_with("x", "")
    hit = cache.get("m", "python", "x", "")
    assert hit and hit.texts == []
    assert cache.get("m", "python", "xy", "") is None


def test_a_closer_that_the_editor_put_there_is_no_miss() -> None:
    cache = cache_with("print", "\n", "(value)")
    hit = cache.get("m", "python", "print(", ")\n")
    assert hit and hit.texts == ["value)"]


def test_of_several_candidates_those_that_go_on_stay() -> None:
    cache = cache_with("x = ", "", "foo()", "bar()", "fob()")
    hit = cache.get("m", "python", "x = fo", "")
    assert hit and hit.texts == ["o()", "b()"]


def test_the_least_recently_used_goes() -> None:
    cache = Cache(size=2)
    for name in "ab":
        cache.put(Key.at("m", "l", name, ""), [name])
    cache.get("m", "l", "a", "")
    cache.put(Key.at("m", "l", "c", ""), ["c"])
    assert cache.get("m", "l", "b", "") is None
    assert cache.get("m", "l", "a", "") is not None


def typed(gap: float, keys: int = 30) -> Typist:
    typist = Typist()
    for number in range(keys):
        typist.key(number * gap)
    return typist


def test_a_fast_typist_waits_less_than_a_slow_one() -> None:
    assert typed(0.08).delay("wor") < typed(0.2).delay("wor") <= LONGEST


def test_a_pause_to_think_is_no_typing() -> None:
    typist = typed(0.1)
    usual = typist.gap
    typist.key(1000.0)
    assert typist.gap == usual


def test_where_people_look_it_asks_sooner() -> None:
    typist = typed(0.1)
    assert typist.delay("foo(") < typist.delay("foo")
    assert typist.delay("") < typist.delay("foo")


def test_fast_answers_need_no_wait() -> None:
    fast, slow = typed(0.1), typed(0.1)
    for _ in range(10):
        fast.answered(0.01)
        slow.answered(1.0)
    assert fast.delay("wor") < 0.02 < slow.delay("wor")


def test_one_message_and_rarer_tries() -> None:
    outage = Outage()
    assert outage.failed(Unreachable("gone"), 0.0)
    assert not outage.may_ask(0.5)
    assert outage.may_ask(1.0)
    assert not outage.failed(Unreachable("gone"), 1.0)
    assert not outage.may_ask(2.5)
    assert outage.failed(NotSupported("no FIM"), 3.0), "another failure is another message"
    for _ in range(20):
        outage.failed(NotSupported("no FIM"), 100.0)
    assert outage.may_ask(100.0 + LONGEST_PAUSE)
    assert outage.answered() and not outage.answered()
    assert outage.may_ask(0.0)
