"""A replica without Ray: the HTTP app over a daemon of its own, which is real."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import wait_for_exit
from threadrunner.client.aio import AsyncClient
from threadrunner.cluster.mount import Mounted, local_path, policy
from threadrunner.cluster.one_model import OneModel
from threadrunner.cluster.own_daemon import RUN, OwnDaemon, environment
from threadrunner.http.app import make_app
from threadrunner.http.gateway import Gateway
from threadrunner.http.proxies import Proxies

KEY = "tr-0123456789abcdef"
ARGS = {"port": 8770, "hosts": ["box.example"], "keys": [hashlib.sha256(KEY.encode()).hexdigest()]}
HEADERS = {"host": "box.example:8770", "authorization": f"Bearer {KEY}", "content-type": "application/json"}
DUMMY = {"backend": "dummy"}

LEASH = """
import asyncio, sys
from threadrunner.cluster.own_daemon import OwnDaemon
own = OwnDaemon("", {"backend": "dummy"})
async def main():
    connection = await own.dial()
    print(own.pid, flush=True)
    sys.stdin.readline()
asyncio.run(main())
"""


class Replica(NamedTuple):
    runner: asyncio.Runner
    own: OwnDaemon
    app: Mounted

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and head of an answer."""
        return self.runner.run(_asked(self.app, path, body, {**HEADERS, **headers}))

    def chat(self, **more: Any) -> tuple[int, Any, dict[str, str]]:
        body = {"model": "small", "messages": [{"role": "user", "content": "hello"}], **more}
        return self.ask("/small/v1/chat/completions", body)


async def _asked(app: Mounted, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
    data = json.dumps(body).encode() if body is not None else b""
    if data:
        headers = {**headers, "content-length": str(len(data))}
    scope = {
        "type": "http", "method": "POST" if data else "GET", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 8770),
        "client": ("127.0.0.1", 1), "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    given = [{"type": "http.request", "body": data, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return given.pop() if given else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    head = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    said = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(said), head


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setenv("THREADRUNNER_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("THREADRUNNER_OFFLINE", "1")
        patch.delenv(RUN, raising=False)
        own = OwnDaemon("", DUMMY)
        client = AsyncClient(dial=own.dial)

        async def made() -> Mounted:
            return Mounted(
                make_app(Gateway(OneModel(client, "small", "")), policy(ARGS), Proxies(), None), "/small", "r1"
            )

        yield Replica(runner, own, runner.run(made()))
        runner.run(client.close())
        runner.run(own.end())
        assert not os.path.exists(own.home)


def test_an_answer_is_by_the_clusters_name_and_says_which_replica_gave_it(replica: Replica) -> None:
    status, said, head = replica.chat()
    assert (status, said["model"], head["x-threadrunner-replica"]) == (200, "small", "r1")
    assert replica.chat(model="default")[0] == 200
    listed = replica.ask("/small/v1/models")[1]["data"]
    assert [model["id"] for model in listed] == ["small"]


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"model": "smollm2:135m"}, 404, "Known: small, and `default`"),
        ({"threadrunner": {"session": "trip"}}, 400, "keeps no conversations"),
        ({"threadrunner": {"memory": True}}, 400, "takes no `memory`"),
    ],
)
def test_what_it_does_not_do(replica: Replica, more: dict[str, Any], status: int, said: str) -> None:
    found, answer, _ = replica.chat(**more)
    assert (found, said in answer["error"]["message"]) == (status, True)


@pytest.mark.parametrize("path", ["/small/", "/small", "/small/metrics", "/small/ui/sessions", "/small/page/app.js"])
def test_the_page_and_its_conversations_are_not_there(replica: Replica, path: str) -> None:
    status, said, _ = replica.ask(path)
    assert status == 404
    assert "ask /small/v1/chat/completions" in said["error"]["message"]


def test_who_may_ask(replica: Replica) -> None:
    assert replica.ask("/small/v1/models", authorization="Bearer tr-0123456789abcdeg")[0] == 401
    status, said, _ = replica.ask("/small/v1/models", host="evil.example:8770")
    assert (status, "`hosts` in the cluster's file adds a name" in said["error"]["message"]) == (421, True)
    status, said, _ = replica.ask("/small/v1/models", origin="https://evil.example")
    assert (status, "programs only" in said["error"]["message"]) == (403, True)


def test_a_daemon_that_is_killed_is_started_again_by_the_next_request(replica: Replica) -> None:
    assert replica.chat()[0] == 200
    before = replica.own.pid
    os.kill(before, signal.SIGKILL)
    wait_for_exit(before)
    statuses = [replica.chat()[0] for _ in range(2)]  # the first may find that it has gone
    assert statuses[-1] == 200
    assert replica.own.pid != before


def test_a_daemon_ends_with_its_replica_however_that_ends(tmp_path: Path) -> None:
    env = {**os.environ, "THREADRUNNER_HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    replica = subprocess.Popen(
        [sys.executable, "-c", LEASH], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with replica:
        assert replica.stdout
        daemon = int(replica.stdout.readline())
        replica.kill()
    wait_for_exit(daemon)


def test_a_daemon_has_nothing_of_rays_and_no_option_of_this_machines_user() -> None:
    ours = {
        "PATH": "/bin", "RAY_AUTH_TOKEN_PATH": "/secret", "THREADRUNNER_MODEL": "mine", "OMP_NUM_THREADS": "1",
        "THREADRUNNER_CLUSTER": "/team",
    }  # fmt: skip
    told = environment(ours, "/r", "smollm2:135m", {"mlock": True, "devices": ["a", "b"], "context": 512})
    assert "RAY_AUTH_TOKEN_PATH" not in told and "OMP_NUM_THREADS" not in told
    assert told["THREADRUNNER_CLUSTER"] == "/team"  # by which `down` finds it
    assert (told["THREADRUNNER_MODEL"], told["THREADRUNNER_HOME"]) == ("smollm2:135m", "/r")
    assert (told["THREADRUNNER_MLOCK"], told["THREADRUNNER_DEVICES"], told["THREADRUNNER_CONTEXT"]) == (
        "1",
        "a,b",
        "512",
    )


def test_a_machine_that_is_offline_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(ours: dict[str, str]) -> str | None:
        return environment(ours, "/r", "x", {"offline": False}).get("THREADRUNNER_OFFLINE")

    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path))
    assert offline({}) == "0"
    assert offline({"THREADRUNNER_OFFLINE": "1"}) == "1"
    (tmp_path / "config.toml").write_text("offline = true\n")
    assert offline({}) == "1"


def test_a_path_below_a_models_own() -> None:
    assert [local_path(path, "/a") for path in ("/a", "/a/", "/a/v1/x", "/ab")] == ["/", "/", "/v1/x", "/ab"]
    assert local_path("/v1/x", "/") == "/v1/x"
