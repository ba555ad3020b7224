"""Workers that hang in native code, with the GIL held: whatever is asked of them ends, and the daemon goes on.

All hang at the same time, each under a model's name of its own, since each costs the daemon's patience (hang.GRACE).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import python_path
from tests.support import PATIENCE, Daemon, Wire, running, wait_for_exit

PLACES = ["submit", "step", "cancel", "spin", "stopped"]


class Hanging(NamedTuple):
    """A model whose worker hangs, a request that hangs there, and one beside it that had begun to be answered."""

    wire: Wire
    request: int
    neighbour: int | None
    pid: int

    def end_of(self, request: int | None) -> dict[str, Any]:
        return self.wire.until(request)[0]["error"]


def pids(daemon: Daemon) -> dict[str, int]:
    return {model["name"]: model["pid"] for model in daemon.wire().call("status")["models"]}


def hang(daemon: Daemon, where: str, prompt: str, model: str, **more: Any) -> Hanging:
    wire = Wire(daemon.socket)  # one that stays open from test to test
    wire.call("models.load", model=model)
    pid, neighbour = pids(daemon)[model], None
    if where == "stopped":
        os.kill(pid, signal.SIGSTOP)
    else:
        neighbour = wire.begin("generate", prompt="drip", model=model)
        while wire.read().get("method") != "token":
            pass
    return Hanging(wire, wire.begin("generate", prompt=prompt, model=model, **more), neighbour, pid)


@pytest.fixture(scope="module")
def ending(plugin: Path) -> Iterator[tuple[Daemon, Wire, set[int]]]:
    """A daemon that was told to end while one worker hangs in a step, one in its load and one as soon as it closes; a
    connection with requests to the first two."""
    env = {"THREADRUNNER_BACKEND": "trouble", "PYTHONPATH": python_path(plugin), "THREADRUNNER_DRAIN": "0.2"}
    for daemon in running(**env):
        wire = daemon.wire()
        wire.call("generate", prompt="hang close", model="closing")
        requests = {
            wire.begin("generate", prompt="hang step", model="busy"),
            wire.begin("generate", prompt="x", model="hang"),
        }
        daemon.wire().call("models.load", model="another")  # those before have been begun by then
        os.kill(daemon.pid, signal.SIGTERM)
        yield daemon, wire, requests


@pytest.fixture(scope="module")
def hanging(_troubled: Daemon, ending: object) -> Iterator[dict[str, Hanging]]:
    prompts = {"stopped": "count", "spin": "spin"}
    scene = {}
    for where in PLACES:
        scene[where] = hang(_troubled, where, prompts.get(where, f"hang {where}"), where, timeout=0.5)
    scene["unloaded"] = hang(_troubled, "unloaded", "hang step", "unloaded")
    with Wire(_troubled.socket) as wire:
        wire.call("generate", prompt="hang close", model="closing", keep_alive=0)
        scene["closing"] = Hanging(wire, 0, None, pids(_troubled)["closing"])
        yield scene
    for here in scene.values():
        here.wire.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(here.pid, signal.SIGKILL)


def test_unload_ends_a_worker_that_hangs_under_a_request_without_a_deadline(
    troubled: Daemon, hanging: dict[str, Hanging]
) -> None:
    here = hanging["unloaded"]
    troubled.wire().call("models.unload", model="unloaded")
    assert here.end_of(here.request)["data"]["cause"] == "hang"
    wait_for_exit(here.pid)
    assert "unloaded" not in pids(troubled) or not pids(troubled)["unloaded"]


@pytest.mark.parametrize("where", PLACES)
def test_a_request_whose_time_is_over_ends_at_once_and_its_worker_soon(
    troubled: Daemon, hanging: dict[str, Hanging], where: str
) -> None:
    here = hanging[where]
    assert here.end_of(here.request)["data"]["kind"] == "Timeout"
    if here.neighbour is not None:
        error = here.end_of(here.neighbour)
        doing = {"spin": "step"}.get(where, where)
        assert (error["code"], error["data"]["cause"], error["data"]["doing"]) == (-32003, "hang", doing)
        assert "loads the model" in error["message"]
    wait_for_exit(here.pid)
    assert "others" in troubled.wire().call("generate", prompt="count", model=where)["text"]
    assert pids(troubled)[where] not in (None, here.pid)


def test_a_model_that_hangs_while_it_closes(hanging: dict[str, Hanging]) -> None:
    wait_for_exit(hanging["closing"].pid)


def test_a_load_that_hangs_is_ended_by_unload_and_waits_for_no_request_meanwhile(troubled: Daemon) -> None:
    wire = troubled.wire()
    assert wire.fail("generate", prompt="x", model="hang", timeout=0.3)["data"]["kind"] == "Timeout"
    pid = pids(troubled)["hang"]
    wire.call("models.unload", model="hang")
    wait_for_exit(pid)
    assert "hang" not in pids(troubled)


def test_sigterm_ends_a_daemon_whose_workers_hang(ending: tuple[Daemon, Wire, set[int]]) -> None:
    daemon, wire, requests = ending
    answers = [wire.read() for _ in requests]
    assert {answer["id"] for answer in answers} == requests
    assert {answer["error"]["data"]["kind"] for answer in answers} == {"ShuttingDown"}
    assert daemon.process and daemon.process.wait(PATIENCE) == 0


def test_a_child_of_a_dead_worker_does_not_keep_it_in_the_list(troubled: Daemon) -> None:
    wire = troubled.wire()
    child = int(wire.call("generate", prompt="child", model="parent")["text"])
    try:
        pid = pids(troubled)["parent"]
        os.kill(pid, signal.SIGKILL)
        wire.call("models.unload", model="parent")
        assert "others" in wire.call("generate", prompt="count", model="parent")["text"]
        assert pids(troubled)["parent"] != pid
    finally:
        os.kill(child, signal.SIGKILL)
