"""Conversations over the socket: a real daemon, the dummy backend."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.conftest import python_path
from tests.support import Daemon, running

LOREM = "lorem ipsum dolor sit amet"
LONG = "word " * 20_000  # the dummy answers with as many pieces


@pytest.fixture
def own() -> Iterator[Daemon]:
    """A daemon that a test may kill."""
    yield from running()


def turns(daemon: Daemon, session: str) -> list[dict[str, Any]]:
    return daemon.wire().call("sessions.show", session=session)["turns"]


def test_a_conversation_begins_with_its_first_turn(daemon: Daemon) -> None:
    wire = daemon.wire()
    response, before = wire.until(wire.begin("generate", prompt="Hello there", session="first"))
    assert "".join(m["params"]["text"] for m in before if m["method"] == "token") == f"{LOREM} Hello. there."
    assert response["result"]["session"] == "first"
    wire.call("generate", prompt="and you?", session="first", stream=False)
    shown = wire.call("sessions.show", session="first")
    assert [(turn["number"], turn["prompt"], turn["answer"], turn["state"]) for turn in shown["turns"]] == [
        (1, "Hello there", f"{LOREM} Hello. there.", "done"),
        (2, "and you?", f"{LOREM} and. you.", "done"),
    ]
    assert (shown["session"]["model"], shown["session"]["backend"]) == ("dummy", "dummy")


def test_params_are_remembered_until_said_anew(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.call("generate", prompt="a", session="keeps", max_tokens=2, seed=1, top_k=5, stop=["x"], system="be brief")
    assert wire.call("generate", prompt="a", session="keeps", top_k=6)["finish_reason"] == "stop"
    info = wire.call("sessions.show", session="keeps")["session"]
    assert (info["params"], info["system"]) == ({"top_k": 6, "stop": ["x"]}, "be brief")


def test_params_of_several_parts_are_remembered_too(daemon: Daemon) -> None:
    wire = daemon.wire()
    dry = {"multiplier": 0.5, "base": 2.0, "allowed_length": 3, "window": 100, "breakers": ["x"]}
    asked = {"xtc": {"probability": 0.5, "threshold": 0.2}, "presence_penalty": 0.5, "dry": dry}
    wire.call("generate", prompt="a", session="parts", **asked, logit_bias={"5": 1.0}, ignore_eos=True)
    wire.call("generate", prompt="b", session="parts")
    assert wire.call("sessions.show", session="parts")["session"]["params"] == asked
    wire.call("sessions.import", name="parts2", turns=[{"prompt": "x", "answer": "y"}], params=asked)
    assert wire.call("generate", prompt="b", session="parts2")["finish_reason"] == "stop"


def test_a_model_that_is_not_there_begins_no_conversation(daemon: Daemon) -> None:
    wire = daemon.wire()
    assert wire.fail("generate", prompt="x", session="typo", backend="llama", model="nope")["code"] == -32001
    assert wire.fail("sessions.show", session="typo")["code"] == -32008


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, "next turn as `prompt`"),
        ({"prompt": "x", "raw": True}, "leave out"),
        ({"prompt": "x", "n": 2}, "leave out"),
        ({"prompt": "x", "session": "@other"}, "cannot name"),
        ({"prompt": "x", "session": ""}, "length"),
        ({"prompt": "x", "session": 7}, "str"),
    ],
)
def test_what_cannot_be_a_turn_is_refused(daemon: Daemon, params: dict[str, Any], says: str) -> None:
    error = daemon.wire().fail("generate", **{"session": "refused", **params})
    assert error["code"] == -32602
    assert says in error["message"]


def test_turns_of_two_clients_come_in_order_each_whole(daemon: Daemon) -> None:
    one, two = daemon.wire(), daemon.wire()
    ids = [(wire, wire.begin("generate", prompt=f"{n}", session="shared")) for n in range(10) for wire in (one, two)]
    for wire, id in ids:
        response, _ = wire.until(id)
        assert response["result"]["session"] == "shared"
    kept = turns(daemon, "shared")
    assert all(turn["answer"] == f"{LOREM} {turn['prompt']}." for turn in kept)
    for earlier, later in pairwise(kept):
        assert earlier["ended"] <= later["ended"]


def test_conversations_do_not_wait_for_each_other(daemon: Daemon) -> None:
    slow, quick = daemon.wire(), daemon.wire()
    id = slow.begin("generate", prompt=LONG, session="slow")
    assert slow.read()["method"] in ("token", "progress")
    assert quick.call("generate", prompt="x", session="quick")["text"] == f"{LOREM} x."
    slow.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
    assert slow.until(id)[0]["error"]["code"] == -32800


def test_who_waits_for_a_turn_can_be_cancelled(daemon: Daemon) -> None:
    wire = daemon.wire()
    long = wire.begin("generate", prompt=LONG, session="queue", stream=False)
    waiting = wire.begin("generate", prompt="taken back", session="queue", stream=False)
    last = wire.begin("generate", prompt="last", session="queue", stream=False)
    assert len(turns(daemon, "queue")) == 3  # each has its place
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": waiting}})
    response, before = wire.until(waiting)
    assert response["error"]["code"] == -32800
    assert [message for message in before if message.get("id") == long] == []  # the long one is still under way
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": long}})
    assert wire.until(last)[0]["result"]["text"] == f"{LOREM} last."
    states = [(turn["prompt"][:10], turn["state"]) for turn in turns(daemon, "queue")]
    assert states == [(LONG[:10], "stopped"), ("taken back", "stopped"), ("last", "done")]


def test_a_stopped_answer_is_kept_as_far_as_it_came(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.begin("generate", prompt=LONG, session="hung up")
    while wire.read()["method"] != "token":
        pass
    wire.close()
    # The next turn waits until the one before has ended: no looking again and again.
    assert "lost_answers" not in daemon.wire().call("generate", prompt="go on", session="hung up")
    first, second = turns(daemon, "hung up")
    assert (first["state"], second["state"]) == ("stopped", "done")
    assert first["answer"].startswith("lorem")


def test_timeout_keeps_what_was_said(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.call("models.load")
    (worker,) = daemon.workers()
    os.kill(worker, signal.SIGSTOP)  # no answer, however fast the machine
    try:
        assert wire.fail("generate", prompt="x", session="late", timeout=0.3, stream=False)["code"] == -32006
    finally:
        os.kill(worker, signal.SIGCONT)
    wire.call("generate", prompt="x", session="late")
    assert [turn["state"] for turn in turns(daemon, "late")] == ["stopped", "done"]


def test_a_killed_daemon_loses_only_the_unfinished_answer_and_says_so(own: Daemon) -> None:
    wire = own.wire()
    wire.call("generate", prompt="one", session="s")
    os.kill(own.workers()[0], signal.SIGSTOP)  # so that the answer is certainly under way
    id = wire.begin("generate", prompt="two", session="s")
    assert [turn["state"] for turn in own.wire().call("sessions.show", session="s")["turns"]] == ["done", "open"]
    own.kill()
    assert wire.read() is None, id
    own.hang_up()
    own.start()
    wire = own.wire()
    assert [turn["state"] for turn in wire.call("sessions.show", session="s")["turns"]] == ["done", "lost"]
    result = wire.call("generate", prompt="three", session="s", stream=False)
    assert result["lost_answers"] == 1
    assert result["text"] == f"{LOREM} two. three."  # the words that were said are said again
    assert "lost_answers" not in wire.call("generate", prompt="four", session="s", stream=False)


def test_a_stopped_daemon_keeps_everything(own: Daemon) -> None:
    wire = own.wire()
    wire.call("generate", prompt="one", session="s")
    wire.call("shutdown")
    assert own.process
    own.process.wait()
    own.hang_up()
    own.start()
    assert [turn["answer"] for turn in turns(own, "s")] == [f"{LOREM} one."]


def test_replacing_the_last_turn(daemon: Daemon) -> None:
    wire = daemon.wire()
    for prompt in ("one", "two", "three"):
        wire.call("generate", prompt=prompt, session="retry")
    wire.call("generate", prompt="two again", session="retry", replace=2)
    assert [turn["prompt"] for turn in turns(daemon, "retry")] == ["one", "two again"]


def test_who_deletes_a_conversation_under_a_turn_ends_those_that_wait(daemon: Daemon) -> None:
    wire = daemon.wire()
    long = wire.begin("generate", prompt=LONG, session="gone", stream=False)
    waiting = wire.begin("generate", prompt="x", session="gone", stream=False)
    wire.call("sessions.delete", session="gone")
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": long}})
    assert wire.until(waiting)[0]["error"]["code"] == -32008
    assert wire.fail("sessions.show", session="gone")["code"] == -32008


def test_a_damaged_file_stops_no_plain_prompt(own: Daemon) -> None:
    (own.home / "sessions.db").write_text("no database at all " * 100)
    wire = own.wire()
    error = wire.fail("generate", prompt="x", session="s")
    assert (error["code"], error["data"]["kind"]) == (-32011, "StorageFailed")
    assert "move it away" in error["message"]
    assert wire.call("generate", prompt="x")["text"] == f"{LOREM} x."
    (own.home / "sessions.db").unlink()
    assert wire.call("generate", prompt="x", session="s")["session"] == "s"


def test_a_crashed_worker_fails_the_turn_and_not_the_conversation(plugin: Any) -> None:
    for daemon in running(PYTHONPATH=python_path(plugin)):
        wire = daemon.wire()
        wire.call("generate", prompt="hello", session="s")
        error = wire.fail("generate", prompt="crash SIGSEGV", session="s", backend="trouble")
        assert error["data"]["kind"] == "WorkerCrashed"
        wire.call("generate", prompt="again", session="s", backend="dummy")
        kept = wire.call("sessions.show", session="s")["turns"]
        assert [(turn["state"], turn["error"]) for turn in kept] == [
            ("done", None), ("failed", "WorkerCrashed"), ("done", None),
        ]  # fmt: skip


def test_a_request_and_its_cancel_in_one_piece_are_answered(daemon: Daemon) -> None:
    wire = daemon.wire()
    cancel = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 1}}
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "generate", "params": {"prompt": LONG, "session": "once"}}, cancel)
    assert wire.until(1)[0]["error"]["code"] == -32800
    wire.call("generate", prompt="x", session="once")
    assert turns(daemon, "once")[-1]["state"] == "done"
