"""A request that a person waits for, while the background has all places or all cells: it begins at once, and what made
way for it ends whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded
from threadrunner.engine.admission import gives_way
from threadrunner.engine.engine import Engine
from threadrunner.engine.events import Ended, Event, Text
from threadrunner.engine.limits import MAX_RUNNING
from threadrunner.engine.llama.sampler import Sampling
from threadrunner.engine.sequence import Priority, Request, Sequence

INTERACTIVE, NORMAL, BACKGROUND = Priority


def sequence(priority: Priority, arrival: int, **more: Any) -> Sequence:
    facts = {"priority": priority, "arrival": arrival, "span": None, "scoring": False}
    return cast(Sequence, SimpleNamespace(**{**facts, **more}))


def test_the_newest_of_the_background_makes_way_and_for_the_more_urgent_only() -> None:
    old, new = sequence(BACKGROUND, 1), sequence(BACKGROUND, 3)
    running = [sequence(NORMAL, 4), old, new, sequence(INTERACTIVE, 2)]
    assert gives_way(INTERACTIVE, running) is gives_way(NORMAL, running) is new
    assert gives_way(BACKGROUND, running) is None
    assert gives_way(INTERACTIVE, [s for s in running if s.priority is not BACKGROUND]) is None


def test_of_what_nothing_could_be_kept_does_not() -> None:
    busy = [sequence(BACKGROUND, 2, span=object()), sequence(BACKGROUND, 3, scoring=True)]
    assert gives_way(INTERACTIVE, busy) is None
    old = sequence(BACKGROUND, 1)
    assert gives_way(INTERACTIVE, [old, *busy]) is old


@pytest.fixture(params=["untied", *tiny.STATES])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Loaded]:
    make = {"untied": lambda path: tiny.untied(path, context_length=1024), **tiny.STATES}[request.param]
    with Loaded(make(tmp_path / "tiny.gguf"), context=1024) as loaded:
        yield loaded


def request(id: int, prompt: int, tokens: int, priority: Priority = BACKGROUND) -> Request:
    """A prompt of so many tokens, of its own for each id."""
    rng = random.Random(id)
    return Request(
        id, [rng.randrange(3, 250) for _ in range(prompt)], Sampling(temperature=0), tokens, priority=priority
    )


class Asked:
    """The engine by itself: what is said is compared token by token."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.said: dict[int, list[int]] = {}

    def add(self, *requests: Request) -> None:
        for request in requests:
            self.engine.add(request)

    def step(self) -> list[Event]:
        events = self.engine.step()
        self.said |= {event.id: event.sequence.tokens for event in events if isinstance(event, Ended)}
        return events

    def until_all_speak(self, tokens: int) -> None:
        while self.engine.queued or any(s.generated < tokens for s in self.engine.cells.running):
            self.step()

    def steps_to_first_text(self, id: int) -> int:
        for number in range(1, 1000):
            if any(isinstance(event, Text) and event.id == id for event in self.step()):
                return number
        raise AssertionError("it waits for others to end")

    def finish(self) -> dict[int, list[int]]:
        """Which tokens each has, those of its prompt first."""
        while self.engine.busy:
            self.step()
        return self.said


def test_it_begins_while_the_background_has_all_places_and_that_ends_with_the_same_text(loaded: Loaded) -> None:
    background = [request(id, 20, 40) for id in range(MAX_RUNNING)]
    urgent = request(99, 20, 12, INTERACTIVE)
    alone: dict[int, list[int]] = {}
    for one in [*background, urgent]:
        loaded.forget()
        asked = Asked(loaded.engine)
        asked.add(one)
        alone |= asked.finish()
    loaded.forget()
    asked = Asked(loaded.engine)
    asked.add(*background)
    asked.until_all_speak(5)
    asked.add(urgent)
    assert asked.steps_to_first_text(99) <= 3
    assert (asked.engine.active, asked.engine.queued) == (MAX_RUNNING, 1)
    assert asked.finish() == alone


def test_it_begins_while_the_background_has_all_cells(tmp_path: Path) -> None:
    with Loaded(tiny.untied(tmp_path / "tiny.gguf", context_length=1024), context=1024) as loaded:
        asked = Asked(loaded.engine)
        many = loaded.engine.limits.cells // 500
        asked.add(*(request(id, 400, 100) for id in range(many)))
        asked.until_all_speak(1)
        asked.add(request(99, 700, 12, INTERACTIVE))
        asked.steps_to_first_text(99)
        assert 99 not in asked.said and len(asked.said) == 0, "none had to end for it"
        assert asked.engine.queued > 0
        said = asked.finish()
        assert sorted(said) == [*range(many), 99]
        assert loaded.cells_in_llama() == loaded.engine.cells.used()


def test_where_nothing_can_be_kept_it_waits(tmp_path: Path) -> None:
    """Or what it would push away began again each time, and might never end."""
    with Loaded(tiny.untied(tmp_path / "tiny.gguf", context_length=1024), context=1024, cache_ram=0) as loaded:
        asked = Asked(loaded.engine)
        asked.add(*(request(id, 20, 40) for id in range(MAX_RUNNING)))
        asked.until_all_speak(1)
        asked.add(request(99, 20, 12, INTERACTIVE))
        asked.step()
        assert (asked.engine.active, asked.engine.queued) == (MAX_RUNNING, 1)
        assert len(asked.finish()) == MAX_RUNNING + 1
