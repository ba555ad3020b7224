"""A loaded model's file changes: replaced, overwritten, broken, gone, healed. Real files, a real watch, real workers;
the backend answers with what its file held when it was loaded."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import python_path
from tests.support import Daemon, Wire, running

pytestmark = pytest.mark.slow


@pytest.fixture
def watching(plugin: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_text("one")
    return path


def replace(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def listener(daemon: Daemon) -> Wire:
    wire = daemon.wire()
    wire.call("subscribe", events=["*"])
    return wire


def ask(wire: Wire, model: Path) -> str:
    return wire.call("generate", prompt="file", model=str(model))["text"]


def test_a_replaced_file_takes_over_and_what_runs_ends_on_the_old_one(watching: Daemon, model: Path) -> None:
    wire, running_wire, events = watching.wire(), watching.wire(), listener(watching)
    assert ask(wire, model) == "one"
    (old,) = watching.workers()
    long = running_wire.begin("generate", prompt="wide 3000", model=str(model))
    while running_wire.read().get("method") != "token":
        pass
    replace(model, "two")
    assert events.event("model.reloading")["data"]["how"] == "replaced"
    events.event("model.loaded")
    while (text := ask(wire, model)) == "one":  # until the new one has said its first token, the old one answers
        pass
    assert text == "two"
    response, before = running_wire.until(long)
    assert sum(len(m["params"]["text"]) for m in before if m["method"] == "token") > 2000 * 1024
    assert "result" in response
    events.event("model.unloaded")
    assert len(watching.workers()) == 1
    assert watching.workers() != [old]


def test_a_bad_new_file_is_reported_and_the_old_model_stays(watching: Daemon, model: Path) -> None:
    wire, events = watching.wire(), listener(watching)
    ask(wire, model)
    (old,) = watching.workers()
    replace(model, "bad")
    assert "is bad" in events.event("model.failed")["data"]["message"]
    assert ask(wire, model) == "one"
    assert old in watching.workers()
    replace(model, "three")
    events.event("model.loaded")
    while ask(wire, model) != "three":
        pass


def test_a_file_written_in_place_ends_its_streams_with_the_reason(watching: Daemon, model: Path) -> None:
    wire, streaming, events = watching.wire(), watching.wire(), listener(watching)
    ask(wire, model)
    (old,) = watching.workers()
    stream = streaming.begin("generate", prompt="drip", model=str(model))
    while streaming.read().get("method") != "token":
        pass
    model.write_text("two")
    assert events.event("model.reloading")["data"]["how"] == "rewritten"
    error = streaming.until(stream)[0]["error"]
    assert (error["data"]["kind"], error["data"]["cause"]) == ("WorkerCrashed", "file overwritten")
    assert "overwritten while it was in use" in error["message"]
    assert ask(wire, model) == "two"
    assert watching.workers() != [old]


def test_requests_wait_until_a_file_is_whole(watching: Daemon, model: Path) -> None:
    """Written slowly, in place: a request that arrives meanwhile gets the whole new file, never a part of it."""
    wire, events = watching.wire(), listener(watching)
    ask(wire, model)
    with model.open("w") as file:
        file.write("tw")
        file.flush()
        events.event("model.unloaded")
        os.utime(model)  # the worker's end may have taken longer than a file must rest
        waiting = wire.begin("generate", prompt="file", model=str(model))
        for piece in ("o", ", ", "whole"):
            file.write(piece)
            file.flush()
            os.utime(model)
    assert wire.until(waiting)[0]["result"]["text"] == "two, whole"


def test_a_broken_file_heals_without_a_restart(watching: Daemon, model: Path) -> None:
    wire, events = watching.wire(), listener(watching)
    ask(wire, model)
    model.write_text("bad")
    events.event("model.unloaded")
    for _ in range(3):  # far enough to have it back off
        assert wire.fail("generate", prompt="file", model=str(model))["data"]["kind"] == "ModelLoadFailed"
    model.write_text("well again")
    assert ask(wire, model) == "well again"


def test_a_deleted_file_ends_no_stream_and_may_come_back(watching: Daemon, model: Path) -> None:
    wire, streaming = watching.wire(), watching.wire()
    ask(wire, model)
    long = streaming.begin("generate", prompt="wide 2000", model=str(model))
    while streaming.read().get("method") != "token":
        pass
    model.unlink()
    assert wire.fail("generate", prompt="file", model=str(model))["data"]["kind"] == "ModelNotFound"
    assert "result" in streaming.until(long)[0]
    model.write_text("back")
    while ask(wire, model) != "back":
        pass


@pytest.mark.slow
def test_twenty_replacements_under_load_fail_no_request(watching: Daemon, model: Path) -> None:
    ask(watching.wire(), model)
    events, done, wrong, answered = listener(watching), threading.Event(), [], [0] * 8

    def client(number: int) -> None:
        wire = Wire(watching.socket)
        last = 0
        while not done.is_set():
            response, _ = wire.until(wire.begin("generate", prompt="file", model=str(model)))
            if "error" in response:
                wrong.append(response["error"])
                continue
            version = int(response["result"]["text"].removeprefix("one") or 0)
            if version < last:
                wrong.append((last, version))  # a client never goes back to an older file
            last = version
            answered[number] += 1
        wire.close()

    replace(model, "0")
    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for version in range(1, 21):
        replace(model, str(version))
        events.event("model.loaded")
    while ask(watching.wire(), model) != "20":
        pass
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(answered)


def test_new_options_hold_without_a_restart_and_wrong_ones_change_nothing(watching: Daemon, model: Path) -> None:
    wire, events = watching.wire(), listener(watching)
    ask(wire, model)
    file = watching.home / "config.toml"
    replace(file, "keep_alive = 1000\n")
    events.event("config.loaded")
    ask(wire, model)
    assert wire.call("status")["models"][0]["expires_s"] > 900
    replace(file, "keep_alive = 'for ever'\n")
    assert "keep_alive must be of type float" in events.event("config.failed")["data"]["message"]
    ask(wire, model)
    assert wire.call("status")["models"][0]["expires_s"] > 900
