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


@pytest.fixture
def watching(plugin: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A link to a file in another folder."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "m.gguf").write_text("one")
    link = tmp_path / "links" / "m.gguf"
    link.parent.mkdir()
    link.symlink_to("../real/m.gguf")
    return link


def becomes(wire: Wire, model: Path, text: str, before: str = "one") -> None:
    """Until the new file's worker takes over the old one answers; nothing else ever does."""
    while (said := ask(wire, model)) != text:
        assert said == before


def switch(link: Path, target: Path) -> None:
    """Exchange a link in one step, as package managers do."""
    other = link.with_name("other")
    other.symlink_to(target)
    other.replace(link)


def test_a_links_target_is_replaced(watching: Daemon, model: Path) -> None:
    wire, events = watching.wire(), listener(watching)
    assert ask(wire, model) == "one"
    replace(model.parent.parent / "real" / "m.gguf", "two")
    assert events.event("model.reloading")["data"]["how"] == "replaced"
    events.event("model.reloaded")
    assert ask(wire, model) == "two"


def test_a_link_is_switched(watching: Daemon, model: Path, tmp_path: Path) -> None:
    wire, events = watching.wire(), listener(watching)
    ask(wire, model)
    (tmp_path / "new").write_text("two")
    switch(model, tmp_path / "new")
    events.event("model.reloaded")
    assert ask(wire, model) == "two"


def test_a_folder_on_the_way_is_switched(watching: Daemon, tmp_path: Path) -> None:
    """As Nix does with a profile, and the Hugging Face cache with a snapshot."""
    for number, text in ((1, "one"), (2, "two")):
        (tmp_path / f"generation-{number}").mkdir()
        (tmp_path / f"generation-{number}" / "m.gguf").write_text(text)
    current = tmp_path / "current"
    current.symlink_to("generation-1")
    wire, events = watching.wire(), listener(watching)
    ask(wire, current / "m.gguf")
    switch(current, Path("generation-2"))
    events.event("model.reloaded")
    assert ask(wire, current / "m.gguf") == "two"


def test_a_links_target_is_overwritten(watching: Daemon, model: Path) -> None:
    wire, streaming, events = watching.wire(), watching.wire(), listener(watching)
    ask(wire, model)
    stream = streaming.begin("generate", prompt="drip", model=str(model))
    while streaming.read().get("method") != "token":
        pass
    (model.parent.parent / "real" / "m.gguf").write_text("two")
    assert events.event("model.reloading")["data"]["how"] == "rewritten"
    assert streaming.until(stream)[0]["error"]["data"]["cause"] == "file overwritten"
    assert ask(wire, model) == "two"


def test_what_a_switched_link_led_to_is_still_protected(watching: Daemon, model: Path, tmp_path: Path) -> None:
    """The old worker ends its stream on the old file, which no name leads to any more, and which is overwritten."""
    wire, streaming, events = watching.wire(), watching.wire(), listener(watching)
    ask(wire, model)
    stream = streaming.begin("generate", prompt="drip", model=str(model))
    while streaming.read().get("method") != "token":
        pass
    (tmp_path / "new").write_text("two")
    switch(model, tmp_path / "new")
    events.event("model.reloaded")
    (tmp_path / "real" / "m.gguf").write_text("three")
    assert streaming.until(stream)[0]["error"]["data"]["cause"] == "file overwritten"
    assert ask(wire, model) == "two"


class TestNames:
    @pytest.mark.parametrize("unloaded", ["link", "target"])
    def test_two_names_are_one_worker(self, watching: Daemon, model: Path, unloaded: str) -> None:
        names = {"link": model, "target": model.parent.parent / "real" / "m.gguf"}
        wire = watching.wire()
        assert [ask(wire, name) for name in names.values()] == ["one", "one"]
        assert len(watching.workers()) == 1
        listed = [wire.call("models.show", model=str(name)) for name in names.values()]
        assert [(shown["loaded"], shown["last_used"] is None) for shown in listed] == [(True, False)] * 2
        wire.call("models.unload", model=str(names[unloaded]))
        assert watching.workers() == []

    def test_both_get_the_new_file_and_share_its_worker(self, watching: Daemon, model: Path) -> None:
        target = model.parent.parent / "real" / "m.gguf"
        wire, events = watching.wire(), listener(watching)
        ask(wire, model)
        ask(wire, target)
        replace(target, "two")
        events.event("model.reloaded")
        assert [ask(wire, name) for name in (model, target)] == ["two", "two"]
        events.event("model.unloaded")
        assert len(watching.workers()) == 1

    def test_a_link_that_leaves_takes_only_its_own_name(self, watching: Daemon, model: Path, tmp_path: Path) -> None:
        target = model.parent.parent / "real" / "m.gguf"
        wire, events = watching.wire(), listener(watching)
        ask(wire, model)
        ask(wire, target)
        (tmp_path / "new").write_text("two")
        switch(model, tmp_path / "new")
        events.event("model.reloaded")
        assert [ask(wire, name) for name in (model, target)] == ["two", "one"]
        assert len(watching.workers()) == 2

    def test_a_link_to_another_loaded_model_loads_nothing(self, watching: Daemon, model: Path, tmp_path: Path) -> None:
        (tmp_path / "new.gguf").write_text("two")
        wire = watching.wire()
        ask(wire, model)
        ask(wire, tmp_path / "new.gguf")
        workers = watching.workers()
        events = listener(watching)
        switch(model, tmp_path / "new.gguf")
        events.event("model.unloaded")
        assert ask(wire, model) == "two"
        assert set(watching.workers()) < set(workers)

    def test_after_an_unload_each_name_means_its_own_file_again(
        self, watching: Daemon, model: Path, tmp_path: Path
    ) -> None:
        target = model.parent.parent / "real" / "m.gguf"
        wire = watching.wire()
        ask(wire, model)
        ask(wire, target)
        wire.call("models.unload")
        (tmp_path / "new").write_text("two")
        switch(model, tmp_path / "new")
        assert [ask(wire, name) for name in (target, model)] == ["one", "two"]


class TestParts:
    @pytest.fixture
    def first(self, tmp_path: Path) -> Path:
        for number in (1, 2):
            (tmp_path / f"big-0000{number}-of-00002.gguf").write_text("one")
        return tmp_path / "big-00001-of-00002.gguf"

    def test_any_part_that_is_replaced(self, watching: Daemon, first: Path) -> None:
        wire, events = watching.wire(), listener(watching)
        ask(wire, first)
        replace(first.with_name("big-00002-of-00002.gguf"), "two")
        assert events.event("model.reloading")["data"]["how"] == "replaced"
        events.event("model.reloaded")

    def test_any_part_that_is_overwritten(self, watching: Daemon, first: Path) -> None:
        wire, events = watching.wire(), listener(watching)
        ask(wire, first)
        first.with_name("big-00002-of-00002.gguf").write_text("two!")
        assert events.event("model.reloading")["data"]["how"] == "rewritten"

    def test_parts_that_are_links(self, watching: Daemon, first: Path, tmp_path: Path) -> None:
        (tmp_path / "blobs").mkdir()
        second = first.with_name("big-00002-of-00002.gguf")
        second.rename(tmp_path / "blobs" / "second")
        second.symlink_to("blobs/second")
        wire, events = watching.wire(), listener(watching)
        ask(wire, first)
        replace(tmp_path / "blobs" / "second", "two")
        events.event("model.reloaded")

    def test_a_link_of_another_name_to_the_first(self, watching: Daemon, first: Path, tmp_path: Path) -> None:
        link = tmp_path / "links" / "big.gguf"
        link.parent.mkdir()
        link.symlink_to(first)
        wire, events = watching.wire(), listener(watching)
        ask(wire, link)
        replace(first.with_name("big-00002-of-00002.gguf"), "two")
        events.event("model.reloaded")


class TestTheWatchGoesOn:
    def test_beside_a_name_that_is_not_utf_8(self, watching: Daemon, model: Path) -> None:
        wire, events = watching.wire(), listener(watching)
        ask(wire, model)
        real = model.parent.parent / "real"
        replace(real / "m.gguf", "two")  # the watch is there
        events.event("model.reloaded")
        for number in range(3):
            (real / os.fsdecode(b"r\xe9sum\xe9%d" % number)).touch()
        replace(real / "m.gguf", "three")
        events.event("model.reloaded")
        assert ask(wire, model) == "three"

    def test_in_a_folder_whose_name_is_not_utf_8(self, watching: Daemon, model: Path, tmp_path: Path) -> None:
        odd = tmp_path / os.fsdecode(b"\xe9")
        odd.mkdir()
        (odd / "m.gguf").write_text("one")
        switch(model, odd / "m.gguf")
        wire, events = watching.wire(), listener(watching)
        ask(wire, model)
        replace(odd / "m.gguf", "two")
        events.event("model.reloaded")

    def test_when_the_folder_was_removed_and_made_again(self, watching: Daemon, model: Path) -> None:
        wire, events = watching.wire(), listener(watching)
        ask(wire, model)
        real = model.parent.parent / "real"
        replace(real / "m.gguf", "two")  # the watch is there
        events.event("model.reloaded")
        (real / "m.gguf").unlink()
        real.rmdir()
        real.mkdir()
        (real / "m.gguf").write_text("three")
        events.event("model.reloaded")
        assert ask(wire, model) == "three"

    def test_a_folder_above_that_was_moved_is_seen_by_the_next_prompt(self, watching: Daemon, tmp_path: Path) -> None:
        place = tmp_path / "a" / "b"
        place.mkdir(parents=True)
        (place / "m.gguf").write_text("one")
        wire = watching.wire()
        ask(wire, place / "m.gguf")
        (tmp_path / "a").rename(tmp_path / "old")
        place.mkdir(parents=True)
        (place / "m.gguf").write_text("two")
        becomes(wire, place / "m.gguf", "two")
