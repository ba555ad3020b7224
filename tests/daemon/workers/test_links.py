"""Models behind links, and models of several parts: watched where they are, one worker for all names.

Real files, a real watch, real workers; the backend answers with what its file held when it was loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import python_path
from tests.daemon.workers.test_hot_reload import ask, listener, replace
from tests.support import Daemon, Wire, running

pytestmark = pytest.mark.slow


@pytest.fixture
def watching(plugin: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))


NAME = Path("m.gguf")
"""Of the model that is a link in the models folder."""


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """The file that the model is a link to."""
    path = tmp_path / "real" / "m.gguf"
    path.parent.mkdir()
    path.write_text("one")
    return path


@pytest.fixture
def link(watching: Daemon, real: Path) -> Path:
    path = watching.home / "models" / NAME
    path.symlink_to(real)
    return path


def watched(daemon: Daemon, name: Path, file: Path) -> Wire:
    """Load the model and wait until a change of its file is seen: nothing that is done before can be missed then.

    Returns a connection that hears of all events from now on.
    """
    events = listener(daemon)
    assert ask(daemon.wire(), name) == "one"
    replace(file, "one")
    for event in ("model.reloaded", "model.unloaded"):
        events.event(event)
    return events


def becomes(wire: Wire, model: Path, text: str, before: str = "one") -> None:
    """Until the new file's worker takes over the old one answers; nothing else ever does."""
    while (said := ask(wire, model)) != text:
        assert said == before


def switch(link: Path, target: Path) -> None:
    """Exchange a link in one step, as package managers do."""
    other = link.with_name("other")
    other.symlink_to(target)
    other.replace(link)


def test_a_links_target_is_replaced(watching: Daemon, link: Path, real: Path) -> None:
    events = watched(watching, NAME, real)
    replace(real, "two")
    assert events.event("model.reloading")["data"]["how"] == "replaced"
    events.event("model.reloaded")
    assert ask(watching.wire(), NAME) == "two"


def test_a_link_is_switched(watching: Daemon, link: Path, real: Path, tmp_path: Path) -> None:
    events = watched(watching, NAME, real)
    (tmp_path / "new").write_text("two")
    switch(link, tmp_path / "new")
    events.event("model.reloaded")
    assert ask(watching.wire(), NAME) == "two"


@pytest.mark.parametrize("absolute", [True, False])
def test_a_folder_on_the_way_is_switched(watching: Daemon, tmp_path: Path, absolute: bool) -> None:
    """As Nix does with a profile, and the Hugging Face cache with a snapshot."""
    for number, text in ((1, "one"), (2, "two")):
        (tmp_path / f"generation-{number}").mkdir()
        (tmp_path / f"generation-{number}" / "m.gguf").write_text(text)
    current = tmp_path / "current"
    current.symlink_to("generation-1")
    (watching.home / "models" / NAME).symlink_to(current / "m.gguf")
    name = current / "m.gguf" if absolute else NAME
    events = watched(watching, name, tmp_path / "generation-1" / "m.gguf")
    switch(current, Path("generation-2"))
    events.event("model.reloaded")
    assert ask(watching.wire(), name) == "two"


def test_a_links_target_is_overwritten(watching: Daemon, link: Path, real: Path) -> None:
    events, streaming = watched(watching, NAME, real), watching.wire()
    stream = dripping(streaming)
    real.write_text("two")
    assert events.event("model.reloading")["data"]["how"] == "rewritten"
    assert streaming.until(stream)[0]["error"]["data"]["cause"] == "file overwritten"
    assert ask(watching.wire(), NAME) == "two"


def test_what_a_switched_link_led_to_is_still_protected(
    watching: Daemon, link: Path, real: Path, tmp_path: Path
) -> None:
    """The old worker ends its stream on the old file, which no name leads to any more, and which is overwritten."""
    events, streaming = watched(watching, NAME, real), watching.wire()
    stream = dripping(streaming)
    (tmp_path / "new").write_text("two")
    switch(link, tmp_path / "new")
    events.event("model.reloaded")
    real.write_text("three")
    assert streaming.until(stream)[0]["error"]["data"]["cause"] == "file overwritten"
    assert ask(watching.wire(), NAME) == "two"


def dripping(wire: Wire) -> int:
    """Begin an answer that does not end, and wait for its first token. Returns the request's id."""
    id = wire.begin("generate", prompt="drip", model=str(NAME))
    while wire.read().get("method") != "token":
        pass
    return id


class TestNames:
    @pytest.mark.parametrize("unloaded", ["link", "target"])
    def test_two_names_are_one_worker(self, watching: Daemon, link: Path, real: Path, unloaded: str) -> None:
        names = {"link": NAME, "target": real}
        wire = watching.wire()
        assert [ask(wire, name) for name in names.values()] == ["one", "one"]
        assert len(watching.workers()) == 1
        listed = [wire.call("models.show", model=str(name)) for name in names.values()]
        assert [(shown["loaded"], shown["last_used"] is None) for shown in listed] == [(True, False)] * 2
        wire.call("models.unload", model=str(names[unloaded]))
        assert watching.workers() == []

    def test_both_get_the_new_file_and_share_its_worker(self, watching: Daemon, link: Path, real: Path) -> None:
        events, wire = watched(watching, NAME, real), watching.wire()
        ask(wire, real)
        replace(real, "two")
        events.event("model.reloaded")
        assert [ask(wire, name) for name in (NAME, real)] == ["two", "two"]
        events.event("model.unloaded")
        assert len(watching.workers()) == 1

    def test_a_link_that_leaves_takes_only_its_own_name(
        self, watching: Daemon, link: Path, real: Path, tmp_path: Path
    ) -> None:
        events, wire = watched(watching, NAME, real), watching.wire()
        ask(wire, real)
        (tmp_path / "new").write_text("two")
        switch(link, tmp_path / "new")
        events.event("model.reloaded")
        assert [ask(wire, name) for name in (NAME, real)] == ["two", "one"]
        assert len(watching.workers()) == 2

    def test_a_link_to_another_loaded_model_loads_nothing(
        self, watching: Daemon, link: Path, real: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "new.gguf").write_text("two")
        events, wire = watched(watching, NAME, real), watching.wire()
        ask(wire, tmp_path / "new.gguf")
        workers = watching.workers()
        switch(link, tmp_path / "new.gguf")
        events.event("model.unloaded")
        assert ask(wire, NAME) == "two"
        assert set(watching.workers()) < set(workers)

    def test_after_an_unload_each_name_means_its_own_file_again(
        self, watching: Daemon, link: Path, real: Path, tmp_path: Path
    ) -> None:
        wire = watching.wire()
        ask(wire, NAME)
        ask(wire, real)
        wire.call("models.unload")
        (tmp_path / "new").write_text("two")
        switch(link, tmp_path / "new")
        assert [ask(wire, name) for name in (real, NAME)] == ["one", "two"]


class TestParts:
    @pytest.fixture
    def first(self, tmp_path: Path) -> Path:
        for number in (1, 2):
            (tmp_path / f"big-0000{number}-of-00002.gguf").write_text("one")
        return tmp_path / "big-00001-of-00002.gguf"

    def test_any_part_that_is_replaced(self, watching: Daemon, first: Path) -> None:
        watched(watching, first, first.with_name("big-00002-of-00002.gguf"))

    def test_any_part_that_is_overwritten(self, watching: Daemon, first: Path) -> None:
        events = watched(watching, first, first)
        first.with_name("big-00002-of-00002.gguf").write_text("two!")
        assert events.event("model.reloading")["data"]["how"] == "rewritten"

    def test_parts_that_are_links(self, watching: Daemon, first: Path, tmp_path: Path) -> None:
        (tmp_path / "blobs").mkdir()
        second = first.with_name("big-00002-of-00002.gguf")
        second.rename(tmp_path / "blobs" / "second")
        second.symlink_to("blobs/second")
        watched(watching, first, tmp_path / "blobs" / "second")

    def test_a_link_of_another_name_to_the_first(self, watching: Daemon, first: Path) -> None:
        (watching.home / "models" / "big.gguf").symlink_to(first)
        watched(watching, Path("big"), first.with_name("big-00002-of-00002.gguf"))


class TestTheWatchGoesOn:
    def test_beside_a_name_that_is_not_utf_8(self, watching: Daemon, link: Path, real: Path) -> None:
        events = watched(watching, NAME, real)
        for number in range(3):
            (real.parent / os.fsdecode(b"r\xe9sum\xe9%d" % number)).touch()
        replace(real, "two")
        events.event("model.reloaded")
        assert ask(watching.wire(), NAME) == "two"

    def test_in_a_folder_whose_name_is_not_utf_8(self, watching: Daemon, link: Path, tmp_path: Path) -> None:
        odd = tmp_path / os.fsdecode(b"\xe9")
        odd.mkdir()
        (odd / "m.gguf").write_text("one")
        switch(link, odd / "m.gguf")
        watched(watching, NAME, odd / "m.gguf")

    def test_when_the_folder_was_removed_and_made_again(self, watching: Daemon, link: Path, real: Path) -> None:
        events = watched(watching, NAME, real)
        real.unlink()
        real.parent.rmdir()
        real.parent.mkdir()
        real.write_text("two")
        events.event("model.reloaded")
        assert ask(watching.wire(), NAME) == "two"

    def test_a_folder_above_that_was_moved_is_seen_by_the_next_prompt(self, watching: Daemon, tmp_path: Path) -> None:
        place = tmp_path / "a" / "b"
        place.mkdir(parents=True)
        (place / "m.gguf").write_text("one")
        watched(watching, place / "m.gguf", place / "m.gguf")
        (tmp_path / "a").rename(tmp_path / "old")
        place.mkdir(parents=True)
        (place / "m.gguf").write_text("two")
        becomes(watching.wire(), place / "m.gguf", "two")
