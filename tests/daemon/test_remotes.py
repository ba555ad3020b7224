"""Nothing leaves unasked: a real daemon before a server that records all that it is sent."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.remote.scripted import (
    UNTIL_HUNG_UP,
    Recorded,
    Reply,
    ScriptedServer,
    as_json,
    delta,
    models,
    says,
    stream,
)
from tests.support import PATIENCE, Daemon

KEY = "sk-a-key-that-must-stay-here"
VARIABLE = "BOX_API_KEY"


class Box:
    """A daemon whose config.toml names one server, `box`."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.daemon = Daemon(THREADRUNNER_OFFLINE="", **{VARIABLE: KEY})
        self.configure()
        self.daemon.start()

    def configure(self, top: str = "", more: str = "", **table: Any) -> None:
        """Write config.toml, with these options of the table [remotes.box]. A daemon that runs hears of it."""
        told = {
            "url": self.server.url,
            "models": ["m", "n"],
            "dialect": "compatible",
            "key": f"env:{VARIABLE}",
            **table,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
        aliases = '[aliases]\nbig = "remote:box/m"\n[modes.remember]\nmemory = true\n'
        text = "\n".join([top, "[remotes.box]", *lines, aliases, more])
        (self.daemon.home / "config.toml").write_text(text)
        if self.daemon.process:
            os.kill(self.daemon.pid, 1)  # SIGHUP, which is heard before the next request of this connection is read
            self.daemon.wire().call("status")

    def call(self, method: str = "generate", **params: Any) -> Any:
        with self.daemon.wire() as wire:
            return wire.call(method, **params)

    def fail(self, method: str = "generate", **params: Any) -> tuple[str, str]:
        """The kind and the text of the error."""
        with self.daemon.wire() as wire:
            error = wire.fail(method, **params)
            return error["data"]["kind"], error["message"]

    @property
    def workers(self) -> list[str]:
        return [model["backend"] for model in self.call("status")["models"]]


@pytest.fixture(scope="module")
def _box() -> Iterator[Box]:
    with ScriptedServer() as server:
        box = Box(server)
        try:
            yield box
        finally:
            box.daemon.close()


@pytest.fixture
def box(_box: Box) -> Box:
    """As each test begins: nothing is allowed but prompts, and nothing was asked."""
    _box.daemon.hang_up()
    _box.server.answers = lambda _: says("from ", "afar")
    _box.configure()
    for session in _box.call("sessions.list")["sessions"]:
        _box.call("sessions.delete", session=session["name"])
    _box.server.requests.clear()
    return _box


def test_a_prompt_goes_where_it_was_named_and_nowhere_else(box: Box) -> None:
    local = box.call(prompt="stays here")
    assert local["model"] == "dummy"
    assert box.server.requests == []
    answer = box.call(model="remote:box/m", prompt="goes there")
    assert (answer["text"], answer["model"]) == ("from afar", "remote:box/m")
    assert "host" not in answer  # the server is on this machine
    assert box.server.chats == [
        {"model": "m", "messages": [{"role": "user", "content": "goes there"}], "stream": True,
         "stream_options": {"include_usage": True}}
    ]  # fmt: skip
    assert [request.headers["authorization"] for request in box.server.requests] == [f"Bearer {KEY}"]
    assert box.call(model="remote:box", prompt="x")["model"] == "remote:box/m"  # the table's first
    assert box.call(model="remote:box/other", prompt="x")["model"] == "remote:box/other"
    assert box.workers.count("remote") == 1  # one worker asks all models of a remote


def test_an_alias_a_mode_and_the_default_model_are_names_too(box: Box) -> None:
    assert box.call(model="big", prompt="x")["model"] == "remote:box/m"
    box.configure(top='model = "remote:box/n"')
    assert box.call(prompt="x")["model"] == "dummy"  # another backend has its own model
    assert box.call(prompt="x", backend="llama")["model"] == "remote:box/n"


def test_what_config_says_of_its_answers_goes_there_too(box: Box) -> None:
    box.configure(more='[models."remote:box/m"]\nsystem = "Be brief."\ntemperature = 0.25\nstop = ["END"]\n')
    box.call(model="big", prompt="x", temperature=0.5)
    (sent,) = box.server.chats
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["temperature"], sent["stop"]) == (0.5, ["END"])
    shown = box.call("models.show", model="big")
    assert shown["defaults"] == {"system": "Be brief.", "temperature": 0.25, "stop": ["END"]}, (
        "the rest is the server's"
    )
    box.configure(more='[models."remote:box/m"]\ntemplate = "{{ messages }}"\n')
    assert "a model on another machine has its server's template" in box.fail(model="big", prompt="x")[1]
    assert "template" in box.call("models.show", model="big")["problem"]
    assert box.call(model="remote:box/n", prompt="x")["text"] == "from afar"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("models.list", {}),
        ("models.show", {"model": "big"}),
        ("models.load", {"model": "remote:box/m"}),
        ("remotes.list", {}),
        ("status", {}),
        ("memory.search", {"query": "x"}),
        ("modes.list", {}),
    ],
)
def test_what_is_no_request_asks_no_one(box: Box, method: str, params: dict[str, Any]) -> None:
    box.call(method, **params)
    assert box.server.requests == []


def test_lists_know_of_it(box: Box) -> None:
    listed = {model["name"]: model for model in box.call("models.list")["models"]}
    assert {name for name in listed if listed[name]["host"]} == {"remote:box/m", "remote:box/n", "big"}
    assert listed["remote:box/m"]["host"] == "127.0.0.1"
    assert box.call("models.show", model="big")["description"] == "remote:box/m"
    (remote,) = box.call("remotes.list")["remotes"]
    assert (remote["key"], remote["allow"], remote["models"]) == (f"env:{VARIABLE}", ["prompt"], ["m", "n"])
    assert box.fail("models.remove", model="big")[0] == "InvalidParams"
    assert box.fail("models.pull", model="remote:box/m")[0] == "InvalidParams"
    assert box.fail(model="remote:else/m", prompt="x")[0] == "ModelNotFound"
    assert box.fail(backend="remote", prompt="x")[0] == "InvalidParams"
    assert box.server.requests == []


def test_the_server_is_asked_for_its_models_when_a_user_says_so(box: Box) -> None:
    box.server.answers = lambda _: models("a", "b", owner="vllm", max_model_len=99)
    found = box.call("remotes.models", remote="box")
    assert [(model["name"], model["context"]) for model in found["models"]] == [("a", 99), ("b", 99)]
    assert [(request.method, request.path) for request in box.server.requests] == [("GET", "/v1/models")]


def test_no_failure_of_one_asks_the_other(box: Box) -> None:
    box.call("models.unload")
    box.server.answers = lambda _: as_json({"error": {"message": "broken"}}, 500)
    assert box.fail(model="remote:box/m", prompt="x")[0] == "RemoteFailed"
    assert box.workers == ["remote"]
    asked = len(box.server.requests)
    assert box.fail(model="nowhere", backend="llama", prompt="x")[0] == "ModelNotFound"
    assert len(box.server.requests) == asked


def test_offline_forbids_it(box: Box) -> None:
    kind, text = box.fail(model="big", prompt="x", offline=True)
    assert (kind, "offline" in text) == ("ModelNotFound", True)
    box.configure(top="offline = true")
    for method, params in (("generate", {"prompt": "x"}), ("embed", {"input": "x"}), ("models.load", {})):
        assert box.fail(method, model="big", **params)[0] == "ModelNotFound"
    assert box.fail("remotes.models", remote="box")[0] == "ModelNotFound"
    assert box.server.requests == []


def test_memory_stays_unless_it_is_allowed(box: Box) -> None:
    box.call("memory.add", text="the cellar's door code is 4711")
    for params in ({"memory": True}, {"mode": "remember"}, {"memory": True, "session": "@new"}):
        kind, text = box.fail(model="remote:box/m", prompt="what is the cellar's door code?", **params)
        assert (kind, 'allow = ["prompt", "memory"]' in text) == ("InvalidParams", True)
    assert box.server.requests == []
    box.configure(allow=["prompt", "memory"])

    def answer(request: Recorded) -> Reply:
        return as_json({"data": []}, 501) if request.path.endswith("embeddings") else says("4711")

    box.server.answers = answer
    box.call(model="remote:box/m", prompt="what is the cellar's door code?", memory=True)
    asked = [request for request in box.server.requests if request.path.endswith("completions")]
    assert "4711" in asked[-1].body["messages"][-1]["content"]
    while b'"input":["."]' not in box.server.arrived.get(timeout=PATIENCE).data:
        pass  # behind the answer, in idle time, passages get their vectors: not while the next test listens


def test_another_models_conversation_stays_unless_it_is_allowed(box: Box) -> None:
    box.call(prompt="a secret", session="talk")
    kind, text = box.fail(model="remote:box/m", prompt="go on", session="talk")
    assert (kind, "not allow" in text) == ("InvalidParams", True)
    assert box.server.requests == []
    shown = box.call("sessions.show", session="talk")
    assert (len(shown["turns"]), shown["session"]["model"]) == (1, "dummy")  # nothing was written
    assert box.call(prompt="and here?", session="talk")["model"] == "dummy"
    box.configure(allow=["prompt", "history"])
    box.call(model="remote:box/m", prompt="go on", session="talk")
    assert "a secret" in json.dumps(box.server.chats)


def test_its_own_conversation_goes_on_and_can_come_home(box: Box) -> None:
    box.call(model="big", prompt="one", session="away")
    assert box.call(prompt="two", session="away")["model"] == "remote:box/m"  # as the conversation remembers
    assert [len(body["messages"]) for body in box.server.chats] == [1, 3]
    box.server.answers = lambda _: as_json({}, 500)
    assert box.fail(prompt="three", session="away")[0] == "RemoteFailed"
    assert box.call(model="dummy", backend="dummy", prompt="four", session="away")["model"] == "dummy"
    asked = len(box.server.requests)
    assert box.fail(model="big", prompt="five", session="away")[0] == "InvalidParams"  # four was said at home
    assert len(box.server.requests) == asked


def test_an_editors_text_stays_unless_it_is_allowed(box: Box) -> None:
    text = {"prefix": "def f():\n    ", "suffix": "\n", "context": [{"path": "other.py", "text": "PASSAGE"}]}
    kind, said = box.fail("infill", model="big", **text)
    assert (kind, "completions" in said) == ("InvalidParams", True)
    assert box.server.requests == []
    for allow, passages in ((["completions"], 0), (["completions", "context"], 1)):
        box.server.requests.clear()
        box.server.answers = lambda _: stream(delta("stop", content="return 1"))
        box.configure(allow=allow, fim="qwen")
        box.call("infill", model="big", **text)
        assert [json.dumps(body).count("PASSAGE") for body in box.server.chats] == [passages]
    assert box.fail(model="big", prompt="x")[0] == "InvalidParams"  # completions alone are no prompts


def test_a_changed_table_holds_from_the_next_request_on(box: Box) -> None:
    box.call(model="big", prompt="x")
    with ScriptedServer(lambda _: says("elsewhere")) as other:
        box.configure(url=other.url)
        assert box.call(model="big", prompt="x")["text"] == "elsewhere"
        assert len(other.requests) == 1
    assert len(box.server.requests) == 1
    box.configure(allow=["everything"])
    kind, text = box.fail(model="big", prompt="x")
    assert (kind, "allow knows no 'everything'" in text) == ("InvalidParams", True)
    assert box.call(prompt="x")["model"] == "dummy"


def test_a_client_that_goes_hangs_up_on_the_server(box: Box) -> None:
    box.server.answers = lambda _: stream(delta(content="a"), UNTIL_HUNG_UP)
    with box.daemon.wire() as wire:
        wire.begin("generate", model="big", prompt="x")
        while wire.read().get("method") != "token":
            pass
    assert box.server.hung_up.get(timeout=PATIENCE) == "/v1/chat/completions"


def test_its_own_deadline(box: Box) -> None:
    box.server.answers = lambda _: stream(UNTIL_HUNG_UP)
    box.call("models.load", model="big")
    assert box.fail(model="big", prompt="x", timeout=0.2)[0] == "Timeout"
    assert box.server.hung_up.get(timeout=PATIENCE)


def test_what_came_is_kept_when_the_rest_does_not(box: Box) -> None:
    box.server.answers = lambda _: stream(delta(content="the beginning"))
    assert box.fail(model="big", prompt="x", session="cut")[0] == "RemoteFailed"
    (turn,) = box.call("sessions.show", session="cut")["turns"]
    assert (turn["answer"], turn["state"], turn["error"]) == ("the beginning", "failed", "RemoteFailed")


def test_the_key_is_seen_nowhere(box: Box) -> None:
    """Not in what a process can be asked for, even where the server repeats it."""
    box.call("models.unload")
    box.call(prompt="starts a worker of another backend")
    box.server.answers = lambda _: as_json({"error": {"message": f"bad key {KEY}"}}, 401)
    error = box.daemon.wire().fail("generate", model="big", prompt="x")
    assert error["data"]["kind"] == "RemoteRefused"
    box.server.answers = lambda _: stream(delta(content="x"))
    assert box.fail(model="big", prompt="x")[0] == "RemoteFailed"
    seen = json.dumps([error, box.call("status"), box.call("remotes.list"), box.call("models.list")])
    assert KEY not in seen + box.daemon.log
    pids = box.daemon.workers()
    assert len(pids) == 2
    for pid in pids:
        for file in ("environ", "cmdline"):
            assert KEY.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()


def test_a_key_that_is_missing_is_said_before_anything_is_sent(box: Box) -> None:
    box.configure(key="file")
    kind, text = box.fail(model="big", prompt="x")
    assert (kind, "remotes login box" in text) == ("RemoteRefused", True)
    assert box.fail(model="big", prompt="x")[0] == "RemoteRefused"  # and not "try again in 4 s"
    assert box.server.requests == []
    keys = box.daemon.home / "keys"
    keys.mkdir(mode=0o700)
    (keys / "box").write_text("sk-file\n")
    (keys / "box").chmod(0o644)
    assert "chmod 600" in box.fail(model="big", prompt="x")[1]
    (keys / "box").chmod(0o600)
    box.call(model="big", prompt="x")
    assert box.server.requests[0].headers["authorization"] == "Bearer sk-file"
    box.configure(key="command:printf sk-said")
    box.call(model="big", prompt="x")
    assert box.server.requests[1].headers["authorization"] == "Bearer sk-said"
    box.configure(key="")
    box.call(model="big", prompt="x")
    assert "authorization" not in box.server.requests[2].headers


def test_https_and_a_certificate_of_ones_own(box: Box, tmp_path: Path) -> None:
    if not (openssl := shutil.which("openssl")):
        pytest.skip("there is no openssl to make a certificate with")
    certificate, secret = tmp_path / "box.pem", tmp_path / "box.key"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=box"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(secret), "-out", str(certificate)]
    subprocess.run([openssl, *options.split(), *names], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, secret)
    with ScriptedServer(lambda _: says("sealed"), tls=tls) as server:
        box.configure(url=server.url)
        kind, text = box.fail(model="big", prompt="x")
        assert (kind, "cannot prove" in text, "`certificates`" in text) == ("RemoteUnreachable", True, True)
        assert server.requests == []
        box.configure(url=server.url, certificates=str(certificate))
        assert box.call(model="big", prompt="x")["text"] == "sealed"
        box.configure(url=server.url, certificates=str(secret))
        assert "has no certificate in it" in box.fail(model="big", prompt="x")[1]


def own_address() -> str:
    """An address of this machine that is not the loopback's; empty where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return ""
        address: str = probe.getsockname()[0]
        return "" if address.startswith("127.") else address


def test_an_answer_says_which_machine_gave_it(box: Box) -> None:
    if not (address := own_address()):
        pytest.skip("this machine has no address beside the loopback's")
    with ScriptedServer(host=address) as server:
        box.configure(url=server.url)
        answer = box.call(model="big", prompt="x")
        assert (answer["host"], answer["model"]) == (address, "remote:box/m")
        (model,) = [model for model in box.call("status")["models"] if model["backend"] == "remote"]
        assert (model["facts"]["host"], model["facts"]["sent_tokens"]) == (address, 5)


def test_an_alias_that_has_just_come_is_judged_as_what_it_is(box: Box) -> None:
    """While no model is loaded config.toml is not watched."""
    box.call(prompt="a secret", session="talk")
    box.call("models.unload")
    file = box.daemon.home / "config.toml"
    file.write_text(file.read_text().replace("[aliases]", '[aliases]\nnew = "remote:box/n"'))
    assert box.fail(model="new", prompt="go on", session="talk")[0] == "InvalidParams"
    assert box.server.requests == []
    assert box.call(model="new", prompt="x")["model"] == "remote:box/n"
