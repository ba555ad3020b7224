"""One daemon asks another: the backend `remote` before our own `threadrunner serve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.served import Served, serving
from tests.support import Daemon, Wire

KEY = "tr-a-key-for-this-test"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PROMPTS = [
    "Hello, how are you? 😀",
    "!think It is about Bonn.\nBonn",
    '!call weather {"city": "Bonn"}',
    '!think One.\n!call weather {"city": "Bonn"}\n!call weather {"city": "Köln"}',
]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """`serve`, which asks for a key, before a daemon with the dummy backend."""
    yield from serving("--key", KEY)


@pytest.fixture(scope="module")
def near(served: Served) -> Iterator[Wire]:
    """A connection to another daemon, which knows the first as `box`."""
    daemon = Daemon(THREADRUNNER_OFFLINE="", BOX_KEY=KEY)
    (daemon.home / "config.toml").write_text(
        f'[remotes.box]\nurl = "{served.url}"\nkey = "env:BOX_KEY"\nmodels = ["dummy"]\ndialect = "threadrunner"\n'
    )
    try:
        yield daemon.start().wire()
    finally:
        daemon.close()


def told(wire: Wire, **params: Any) -> tuple[dict[str, Any], str, list[Any]]:
    """The result, the text of all its pieces, and the calls as they were streamed."""
    response, before = wire.until(wire.begin("generate", **params))
    tokens = [one["params"] for one in before if one.get("method") == "token"]
    text = "".join(token["text"] for token in tokens if "kind" not in token)
    calls = [(token["call"]["index"], token["call"].get("name")) for token in tokens if token.get("kind") == "call"]
    return response["result"], text, sorted({call for call in calls if call[1]})


@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_answer_is_the_same_from_here_and_from_there(served: Served, near: Wire, prompt: str) -> None:
    params: dict[str, Any] = {"prompt": prompt, "tools": [TOOL]}
    here, here_text, here_calls = told(served.daemon.wire(), **params)
    there, there_text, there_calls = told(near, model="remote:box/dummy", **params)
    assert (there["text"], there_text, there_calls) == (here["text"], here_text, here_calls)
    assert (there["finish_reason"], there.get("reasoning")) == (here["finish_reason"], here.get("reasoning"))
    assert there["usage"] == here["usage"]
    functions = [[call["function"] for call in answer.get("tool_calls", [])] for answer in (here, there)]
    assert functions[0] == functions[1]


def test_a_limit_and_a_talk_with_its_calls(served: Served, near: Wire) -> None:
    short = near.call("generate", model="remote:box/dummy", prompt="x", max_tokens=2)
    assert (short["text"], short["finish_reason"]) == ("lorem ipsum", "length")
    asked = near.call("generate", model="remote:box/dummy", prompt=PROMPTS[2], tools=[TOOL], session="talk")
    (call,) = asked["tool_calls"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "4 degrees"}]
    answer = near.call("generate", messages=results, session="talk")
    assert answer["model"] == "remote:box/dummy"
    assert "degrees" in answer["text"]


def test_errors_of_the_other_daemon_have_their_own_kind(served: Served, near: Wire) -> None:
    for params, kind in (
        ({"model": "remote:box/nothing"}, "ModelNotFound"),
        ({"model": "remote:box/dummy", "json_schema": {"type": "object"}}, "NotSupported"),
        ({"model": "remote:box/dummy", "xtc": {}}, "NotSupported"),
    ):
        error = near.fail("generate", prompt="x", **params)
        assert error["data"]["kind"] == kind, error


def test_who_reaches_our_port_asks_no_other_machine_with_our_key(served: Served) -> None:
    daemon = Daemon(THREADRUNNER_OFFLINE="", BOX_KEY=KEY)
    table = f'[remotes.box]\nurl = "{served.url}"\nkey = "env:BOX_KEY"\nmodels = ["dummy"]\n'
    (daemon.home / "config.toml").write_text(f'{table}[aliases]\nbig = "remote:box/dummy"\n')
    port = Served(daemon.start())
    try:
        with daemon.wire() as wire:
            wire.call("models.load", model="big")
        for name in ("remote:box/dummy", "remote:box", "big"):
            body = {"model": name, "messages": [{"role": "user", "content": "x"}]}
            assert port.post("/v1/chat/completions", body).status == 404
    finally:
        port.close()
        daemon.close()


def test_a_wrong_key(served: Served) -> None:
    daemon = Daemon(THREADRUNNER_OFFLINE="", BOX_KEY="tr-another-key")
    table = f'[remotes.box]\nurl = "{served.url}"\nkey = "env:BOX_KEY"\n'
    (daemon.home / "config.toml").write_text(table)
    try:
        error = daemon.start().wire().fail("generate", prompt="x", model="remote:box/dummy")
        assert (error["data"]["kind"], error["data"]["status"]) == ("RemoteRefused", 401)
    finally:
        daemon.close()
