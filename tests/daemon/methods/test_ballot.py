"""Several answers over the socket: a vote, what comes of a low agreement, and the client's own choice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.remote.scripted import ScriptedServer, says
from tests.conftest import python_path
from tests.support import Daemon, Wire, running


@pytest.fixture(scope="module")
def _server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="module")
def _several(plugin: Path, _server: ScriptedServer) -> Iterator[Daemon]:
    """A daemon whose backend is told by the prompt what its answers are."""
    several = running(THREADRUNNER_BACKEND="several", PYTHONPATH=python_path(plugin), THREADRUNNER_OFFLINE="")
    daemon = next(several)
    table = f'url = "{_server.url}"\nmodels = ["m"]\ndialect = "compatible"\n'
    (daemon.home / "config.toml").write_text(
        f'[remotes.box]\n{table}[remotes.shut]\n{table}allow = ["completions"]\n[aliases]\nbig = "remote:box/m"\n'
    )
    yield daemon
    yield from several


@pytest.fixture
def wire(_several: Daemon) -> Iterator[Wire]:
    with _several.wire() as wire:
        yield wire


def vote(wire: Wire, prompt: str, vote: dict[str, Any], **params: Any) -> tuple[Any, list[Any]]:
    """The result or the error, and the candidates that were told of before it."""
    n = prompt.count("|") + 1
    response, before = wire.until(wire.begin("generate", prompt=prompt, n=n, vote=vote, **params))
    told = [message["params"] for message in before if message["method"] == "candidate"]
    return response.get("result") or response["error"], told


def active(wire: Wire) -> int:
    return sum(model["active"] for model in wire.call("status")["models"])


def until_active(wire: Wire, name: str, count: int) -> dict[str, Any]:
    """What `status` has of a model that works for so many requests."""
    while True:
        for model in wire.call("status")["models"]:
            if (model["name"], model["active"]) == (name, count):
                return model  # type: ignore[no-any-return]


def test_the_vote_ends_as_soon_as_its_lead_cannot_be_lost(wire: Wire) -> None:
    result, told = vote(wire, "7 | 8. | 7. | hold", {})
    assert result["text"] == "7"
    assert result["vote"] == {
        "by": "majority", "n": 4, "answers": 3, "chosen": 0, "agreement": 0.6667, "votes": 2, "key": "7", "keys": 2,
    }  # fmt: skip
    assert [(one["index"], one["text"], one["key"]) for one in told] == [(0, "7", "7"), (1, "8.", "8"), (2, "7.", "7")]
    assert [(one["index"], one["key"]) for one in result["choices"]] == [(0, "7"), (1, "8"), (2, "7")]
    assert active(wire) == 0


def test_without_early_stop_all_are_awaited(wire: Wire) -> None:
    result, told = vote(wire, "7 | 7 | 7 | 8", {"early_stop": False}, stream=False)
    assert (result["vote"]["answers"], result["vote"]["agreement"], told) == (4, 0.75, [])


def test_answers_that_do_not_agree_are_an_error_that_has_them(wire: Wire) -> None:
    error, _ = vote(wire, "7 | 8 | 7 | 9", {"least": 0.75})
    assert (error["code"], error["data"]["kind"]) == (-32016, "NoneChosen")
    assert error["message"] == "the answers agree by 0.50 (2 of 4), and 0.75 is the least"
    assert error["data"]["choices"] == ["7", "8", "7", "9"]
    assert error["data"]["agreement"] == 0.5


@pytest.mark.parametrize(
    ("given", "says"),
    [({"pattern": r"\d"}, r"the pattern '\\d' is found in none"), ({"field": "n"}, "they are no JSON that has 'n'")],
)
def test_answers_without_a_key(wire: Wire, given: dict[str, Any], says: str) -> None:
    error, told = vote(wire, "x | y", given)
    assert error["data"]["kind"] == "NoneChosen"
    assert says in error["message"]
    assert "key" not in told[0]


def test_a_pattern_that_takes_for_ever_ends_its_request_alone(wire: Wire) -> None:
    error, _ = vote(wire, f"{'a' * 60}b | hold", {"pattern": "(a+)+$"})
    assert (error["code"], "nested repeats" in error["message"]) == (-32602, True)
    assert active(wire) == 0
    assert vote(wire, "x | x", {})[0]["text"] == "x"


# below the agreement: another model


def test_the_larger_model_is_asked_where_they_do_not_agree(wire: Wire) -> None:
    result, _ = vote(wire, "7 | 8", {"least": 0.6, "otherwise": "large"})
    assert (result["text"], result["model"]) == ("large: 7 | 8", "large")
    assert [choice["text"] for choice in result["choices"]] == ["7", "8"]
    assert result["vote"]["otherwise"] == "large"
    assert result["vote"]["completion_tokens"] == 2
    assert "chosen" not in result["vote"]


def test_a_crash_of_it_tells_its_other_requests_nothing_of_the_answers(wire: Wire, _several: Daemon) -> None:
    ours = wire.begin("generate", prompt="7 | 8", n=2, vote={"least": 0.6, "otherwise": "silent"})
    silent = until_active(wire, "silent", 1)
    with Wire(_several.socket) as other:
        theirs = other.begin("generate", prompt="x", model="silent")
        until_active(wire, "silent", 2)
        os.kill(silent["pid"], signal.SIGKILL)
        error = other.until(theirs)[0]["error"]
    assert wire.until(ours)[0]["error"]["data"] == {**error["data"], "choices": ["7", "8"]}
    assert (error["data"]["signal"], "choices" in error["data"]) == ("SIGKILL", False)


def test_it_is_not_asked_where_they_do(wire: Wire) -> None:
    result, _ = vote(wire, "7 | 7 | 8", {"least": 0.6, "otherwise": "large"})
    assert (result["text"], result["model"], "otherwise" in result["vote"]) == ("7", "several", False)


def test_a_larger_model_that_is_not_there_is_an_error_before_the_vote(wire: Wire) -> None:
    error, told = vote(wire, "7 | 7", {"least": 0.6, "otherwise": "/nowhere/big.gguf"})
    assert (error["data"]["kind"], told) == ("ModelNotFound", [])


def test_another_machine_is_asked_only_where_it_is_named_and_needed(wire: Wire, _server: ScriptedServer) -> None:
    _server.answers = lambda _: says("from ", "afar")
    before = len(_server.requests)
    assert vote(wire, "7 | 7", {"least": 0.6, "otherwise": "remote:box/m"})[0]["text"] == "7"
    assert vote(wire, "7 | 8", {"least": 0.6})[0]["data"]["kind"] == "NoneChosen"
    assert len(_server.requests) == before
    chats = len(_server.chats)
    for name in ("remote:box/m", "big"):
        result, _ = vote(wire, "7 | 8", {"least": 0.6, "otherwise": name})
        assert (result["text"], result["vote"]["otherwise"]) == ("from afar", "remote:box/m")
    assert len(_server.chats) == chats + 2


@pytest.mark.parametrize(
    ("name", "params", "kind"),
    [("remote:shut/m", {}, "InvalidParams"), ("remote:box/m", {"offline": True}, "ModelNotFound")],
)
def test_where_it_may_not_be_asked_the_vote_does_not_begin(
    wire: Wire, _server: ScriptedServer, name: str, params: dict[str, Any], kind: str
) -> None:
    before = len(_server.requests)
    error, told = vote(wire, "7 | 8", {"least": 0.6, "otherwise": name}, **params)
    assert (error["data"]["kind"], told, len(_server.requests)) == (kind, [], before)


# chosen by the client


def begin(wire: Wire, prompt: str, **params: Any) -> int:
    return wire.begin("generate", prompt=prompt, n=prompt.count("|") + 1, vote={"by": "client"}, **params)


def next_candidate(wire: Wire) -> dict[str, Any]:
    while (message := wire.read()) is not None:
        if message.get("method") == "candidate":
            return message["params"]
    raise AssertionError("hung up")


def choose(wire: Wire, request: Any, candidate: int | None) -> None:
    wire.send({"jsonrpc": "2.0", "method": "choose", "params": {"request": request, "candidate": candidate}})


@pytest.mark.parametrize("stream", [True, False])
def test_the_client_chooses_and_the_others_end(wire: Wire, stream: bool) -> None:
    id = begin(wire, "7 | 8 | hold", stream=stream)
    assert [next_candidate(wire)["text"] for _ in range(2)] == ["7", "8"]
    choose(wire, id, 1)
    result = wire.until(id)[0]["result"]
    assert (result["text"], result["model"]) == ("8", "several")
    assert result["vote"] == {"by": "client", "n": 3, "answers": 2, "chosen": 1}
    assert [choice["text"] for choice in result["choices"]] == ["7", "8"]
    assert active(wire) == 0
    assert any(work["model"] == "several" for work in wire.call("status")["work"])


def test_none_of_them(wire: Wire) -> None:
    id = begin(wire, "7 | 8")
    next_candidate(wire), next_candidate(wire)
    choose(wire, id, None)
    error = wire.until(id)[0]["error"]
    assert (error["data"]["kind"], error["data"]["choices"]) == ("NoneChosen", ["7", "8"])


def test_choices_that_cannot_be_made(wire: Wire) -> None:
    id = begin(wire, "7 | hold")
    next_candidate(wire)
    assert "there is no candidate 1 yet; complete are [0]" in wire.fail("choose", request=id, candidate=1)["message"]
    assert "no request 'x'" in wire.fail("choose", request="x", candidate=0)["message"]
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
    assert wire.until(id)[0]["error"]["code"] == -32800
    assert f"no request {id} of this connection waits" in wire.fail("choose", request=id, candidate=0)["message"]
    assert active(wire) == 0


def test_a_client_that_goes_away_ends_its_answers(wire: Wire, _several: Daemon) -> None:
    with Wire(_several.socket) as other:
        begin(other, "7 | hold")
        next_candidate(other)
    id = begin(wire, "7 | hold")  # behind the cancel in the worker's inbox
    next_candidate(wire)
    choose(wire, id, 0)
    wire.until(id)
    assert active(wire) == 0


# in a conversation


def test_a_turn_is_the_answer_that_won(wire: Wire) -> None:
    result, _ = vote(wire, "7 | 8 | 8", {}, session="counted")
    assert (result["text"], result["session"]) == ("8", "counted")
    vote(wire, "a | b", {"least": 0.9}, session="counted")
    result, _ = vote(wire, "a | b", {"least": 0.9, "otherwise": "large"}, session="counted")
    turns = wire.call("sessions.show", session="counted")["turns"]
    assert [(turn["answer"], turn["state"], turn["model"], turn["error"]) for turn in turns] == [
        ("8", "done", "several", None),
        (None, "failed", None, "NoneChosen"),
        (result["text"], "done", "large", None),
    ]
    assert wire.call("sessions.show", session="counted")["session"]["model"] == "several"


def test_a_turn_is_the_answer_that_the_client_chose(wire: Wire) -> None:
    id = begin(wire, "7 | 8 | hold", session="chosen")
    next_candidate(wire), next_candidate(wire)
    choose(wire, id, 1)
    wire.until(id)
    (turn,) = wire.call("sessions.show", session="chosen")["turns"]
    assert (turn["answer"], turn["state"]) == ("8", "done")
