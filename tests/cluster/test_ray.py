"""A real Ray on the loopback: two nodes, a replica on each, and what becomes of requests when its parts are killed."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import tiny
from tests.cluster.rig import Rig, chat, eventually, replica_of, why_not
from tests.conftest import python_path
from tests.http.served import Reply
from tests.support import wait_for_exit
from threadrunner.cluster.nodes import LOCAL

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

TROUBLE = """
[models.toy]
model = "toy"
replicas = 2
cpus = 1
options = {backend = "trouble"}
"""
ENTER = """
import signal, sys
from ray._raylet import GcsClient
signal.setitimer(signal.ITIMER_REAL, 20)  # it may go on asking
GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None)
print("in")
"""
OTHERS = """
[models.tiny]
model = "{folder}/tiny.gguf"
cpus = 0
[models.broken]
model = "{folder}/broken.gguf"
cpus = 0
[models.missing]
model = "smollm2:135m"
cpus = 0
"""


@pytest.fixture(scope="module")
def rig(plugin: Path) -> Iterator[Rig]:
    made = Rig(TROUBLE, "cpus = 1", PYTHONPATH=python_path(plugin))
    try:
        first = made.run("up")
        assert first.returncode == 0, first.stderr
        assert "no machine of the cluster has room" in first.stderr  # for the second replica
        second = made.run("up", "--node", "second")
        assert second.returncode == 0, second.stderr
        eventually(lambda: len(made.replicas("toy")) == 2)
        yield made
    finally:
        made.close()


def both(rig: Rig) -> dict[str, str]:
    """A session's name for each replica, by the replica's id."""
    found: dict[str, str] = {}
    for number in range(60):
        found.setdefault(replica_of(rig.say("toy", "hello", f"s{number}")), f"s{number}")
        if len(found) == 2:
            return found
    raise AssertionError(f"60 sessions all went to {found}")


def rest(response: http.client.HTTPResponse) -> bytes:
    """All that still comes, to an orderly end or not."""
    with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
        said = b""
        while more := response.read1(65536):
            said += more
        return said
    return said


def test_a_stream_comes_in_pieces_from_the_model_that_is_asked(rig: Rig) -> None:
    with rig.stream("toy", "drip") as (_, response):
        for _ in range(20):
            assert response.readline()
    listed = rig.ask("/toy/v1/models").json
    assert [model["id"] for model in listed["data"]] == ["toy"]
    other = rig.ask("/toy/v1/chat/completions", {**chat("hello"), "model": "smollm2:135m"})
    assert other.status == 404
    assert "toy" in other.json["error"]["message"]
    assert rig.ask("/toy/").status == 404  # no page, which would keep conversations
    kept = rig.ask("/toy/v1/chat/completions", {**chat("hello"), "threadrunner": {"session": "trip"}})
    assert kept.status == 400
    assert "keeps no conversations" in kept.json["error"]["message"]


def test_a_client_that_hangs_up_is_seen_by_the_engine(rig: Rig) -> None:
    with rig.stream("toy", "drip", "cancelled") as (replica, response):
        response.readline()
        before = _cancelled(rig.say("toy", "how many?", "cancelled"))

    def seen() -> bool:
        reply = rig.say("toy", "how many?", "cancelled")
        assert replica_of(reply) == replica
        return _cancelled(reply) == before + 1 and ", 0 others" in reply.json["choices"][0]["message"]["content"]

    eventually(seen)


def _cancelled(reply: Reply) -> int:
    return int(reply.json["choices"][0]["message"]["content"].split()[0])


def test_a_talk_stays_with_its_replica(rig: Rig) -> None:
    homes = {name: replica_of(rig.say("toy", "hello", name)) for name in (f"talk {number}" for number in range(12))}
    assert set(homes.values()) == set(rig.replicas("toy"))
    assert {name: replica_of(rig.say("toy", "again", name)) for name in homes} == homes


def test_a_worker_that_is_killed_ends_its_answers_and_no_other(rig: Rig) -> None:
    (one, other) = both(rig).values()
    with rig.stream("toy", "drip", other) as (_, unhurt):
        with rig.stream("toy", "drip", one) as (replica, response):
            response.readline()
            broken = rig.say("toy", "crash SIGKILL", one)
            assert broken.status >= 500
            assert broken.json["error"]["message"]
            assert b"error" in rest(response)  # it is told, not left waiting
        again = rig.say("toy", "hello", one)
        assert (again.status, replica_of(again)) == (200, replica)
        assert unhurt.readline()


def test_a_model_that_cannot_be_had_fails_in_our_own_words_and_leaves_the_others(rig: Rig, tmp_path: Path) -> None:
    tiny.untied(tmp_path / "tiny.gguf")
    (tmp_path / "broken.gguf").write_text("this is no model")
    before = set(rig.replicas("toy"))
    rig.write(TROUBLE + OTHERS.format(folder=tmp_path))
    done = rig.run("up")
    rig.write(TROUBLE)
    assert done.returncode == 3, done.stderr
    assert "broken: failed: ModelLoadFailed: " in done.stderr
    assert "missing: failed: ModelNotFound: smollm2:135m is not on this machine" in done.stderr
    assert "Traceback" not in done.stderr
    assert rig.say("toy", "hello").status == 200
    real = rig.ask("/tiny/v1/chat/completions", {**chat("hello"), "model": "tiny", "max_tokens": 3})
    assert (real.status, real.json["model"], real.json["usage"]["completion_tokens"]) == (200, "tiny", 3)
    assert rig.run("up").returncode == 0  # without them again
    eventually(lambda: set(rig.status()["applications"]) == {"toy"})
    assert set(rig.replicas("toy")) == before


def test_no_process_without_the_token_is_let_in(rig: Rig, tmp_path: Path) -> None:
    token = rig.home / "cluster" / "rig" / "token"
    (tmp_path / "wrong").write_text("0" * 43)

    def said(**env: str) -> str:
        argv = [sys.executable, "-c", ENTER, f"{LOCAL}:{rig.top.split()[2]}"]
        return subprocess.run(argv, env={**rig.env, **env}, capture_output=True, text=True, check=False).stdout

    assert said() == ""
    assert said(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(tmp_path / "wrong")) == ""
    assert said(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token)) == "in\n"
    assert token.stat().st_mode & 0o077 == 0
    for pid in rig.marked():
        with contextlib.suppress(OSError):
            assert token.read_text().strip().encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_replica_that_is_killed_is_replaced_and_none_is_answered_twice(rig: Rig) -> None:
    sessions = both(rig)
    victim = next(iter(sessions))
    with rig.stream("toy", "drip", sessions[victim]) as (replica, response):
        assert replica == victim
        response.readline()
        before = rig.replicas("toy")
        daemons = _children(before[victim]["pid"])
        os.kill(before[victim]["pid"], signal.SIGKILL)
        said = rest(response)
        assert b"[DONE]" not in said  # broken off, and no second answer behind it
    for pid in daemons:
        wait_for_exit(pid)
    assert eventually(lambda: rig.say("toy", "hello", sessions[victim]).status == 200)
    after = eventually(lambda: (found := rig.replicas("toy")) and len(found) == 2 and victim not in found and found)
    assert set(after) & set(before) == set(before) - {victim}


def _children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def test_a_node_that_is_killed_takes_only_its_own(rig: Rig) -> None:
    raylet = next(pid for pid in rig.marked("second") if b"raylet/raylet" in Path(f"/proc/{pid}/cmdline").read_bytes())
    pids = {pid for pid in rig.marked("second") if b"ServeReplica" in Path(f"/proc/{pid}/cmdline").read_bytes()}
    lost = {id for id, replica in rig.replicas("toy").items() if replica["pid"] in pids}
    assert len(lost) == 1
    os.kill(raylet, signal.SIGKILL)
    sessions = [f"n{number}" for number in range(6)]
    answered = [eventually(lambda name=name: rig.say("toy", "hello", name, 5).status == 200) for name in sessions]
    assert all(answered)
    eventually(lambda: not lost & set(rig.replicas("toy")))
    assert all(rig.say("toy", "hello", name).status == 200 for name in sessions)
    assert rig.run("down", "--node", "second").returncode == 0
    assert rig.marked("second") == []
    assert rig.run("up", "--node", "second").returncode == 0
    eventually(lambda: len(rig.replicas("toy")) == 2)


def test_down_leaves_no_process_and_no_folder(rig: Rig) -> None:
    assert len(rig.marked()) > 8
    done = rig.run("down")
    assert (done.returncode, rig.marked()) == (0, [])
    assert "processes ended" in done.stderr
    assert "nothing of rig ran here" in rig.run("down").stderr
    assert rig.run("status").returncode == 2


def test_a_launcher_that_is_killed_leaves_what_down_ends(plugin: Path) -> None:
    rig = Rig(TROUBLE, "cpus = 2", PYTHONPATH=python_path(plugin))
    try:
        launcher = rig.begin("up")
        assert launcher.stderr
        assert "starting Ray" in launcher.stderr.readline()
        eventually(lambda: len(rig.marked()) > 3)
        launcher.kill()
        launcher.wait()
        launcher.stderr.close()
        assert launcher.stdout
        launcher.stdout.close()
        assert rig.run("down").returncode == 0
        assert rig.marked() == []
    finally:
        rig.close()
