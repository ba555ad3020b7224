"""Calls, results and thinking in a conversation, over the socket; the backend says what it is told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import python_path
from tests.support import Daemon, running

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
ASK = 'think they mean Porto; call weather {"city": "Porto"}'


@pytest.fixture(scope="module")
def _thinking(plugin: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="thinker", PYTHONPATH=python_path(plugin))


@pytest.fixture
def thinking(_thinking: Daemon) -> Iterator[Daemon]:
    yield _thinking
    _thinking.hang_up()


def result(id: str, content: str = "24") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def turns(daemon: Daemon, session: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = daemon.wire().call("sessions.show", session=session)["turns"]
    return shown


def shown(daemon: Daemon, session: str, **params: Any) -> dict[str, Any]:
    """What the backend is shown for a turn after all others."""
    seen: dict[str, Any] = json.loads(
        daemon.wire().call("generate", session=session, prompt="shown", stream=False, **params)["text"]
    )
    return seen


def test_a_tool_round(thinking: Daemon) -> None:
    wire = thinking.wire()
    response, before = wire.until(wire.begin("generate", prompt=ASK, session="round", tools=TOOLS))
    kinds = [message["params"].get("kind") for message in before if message["method"] == "token"]
    assert set(kinds) == {"reasoning", "call"}
    first = response["result"]
    assert (first["finish_reason"], first["text"], first["reasoning"]) == ("tool_calls", "", "they mean Porto")
    (made,) = first["tool_calls"]
    answer = wire.call("generate", messages=[result(made["id"])], session="round", stream=False)
    assert answer["text"] == "so: 24"
    one, two = turns(thinking, "round")
    assert (one["tool_calls"], one["reasoning"], one["reasoning_tokens"]) == ([made], "they mean Porto", 3)
    assert (two["prompt"], two["tool_results"]) == ("", [{"tool_call_id": made["id"], "content": "24"}])
    again = wire.call("generate", messages=[result(made["id"], "25")], session="round", replace=1)
    assert again["text"] == "so: 25"
    seen = shown(thinking, "round")
    assert [message["role"] for message in seen["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert seen["tools"] == ["weather"]  # they are remembered, and so is what is cached of the prompt


def test_thinking_is_shown_again_only_while_the_round_goes_on(thinking: Daemon) -> None:
    wire = thinking.wire()
    wire.call("generate", prompt=ASK, session="thought")
    results = [result("c1"), user("shown")]
    seen = json.loads(wire.call("generate", messages=results, session="thought")["text"])
    assert not any("reasoning" in message for message in seen["messages"])  # the user has said something new
    wire.call("generate", prompt=ASK, session="thought")
    wire.call("generate", messages=[result("c2")], session="thought")
    assert not any("reasoning" in message for message in shown(thinking, "thought")["messages"])
    assert [turn.get("reasoning") for turn in turns(thinking, "thought")] == [
        "they mean Porto", None, "they mean Porto", None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([user("hi")], "next turn as `prompt`"),
        ([user("hi"), result("c1")], "next turn as `prompt`"),
        ([result("c1"), user("a"), user("b")], "next turn as `prompt`"),
        ([{"role": "tool", "content": "x"}], "with tool_call_id"),
        ([{"role": "assistant", "content": "x"}], "next turn as `prompt`"),
        ([result("other")], "no call with the id 'other' waits for a result; these do: c1 (weather), c2 (weather)"),
        ([result("c1")], "all calls at once; c2 has none"),
        ([result("c1"), result("c1")], "two results"),
    ],
)
def test_what_cannot_be_results_is_refused_and_leaves_no_trace(
    thinking: Daemon, messages: list[dict[str, Any]], says: str
) -> None:
    wire = thinking.wire()
    wire.call("generate", prompt="call weather {}; call weather {}", session="strict", replace=1)
    error = wire.fail("generate", messages=messages, session="strict")
    assert error["code"] == -32602
    assert says in error["message"]
    assert len(turns(thinking, "strict")) == 1


def test_a_prompt_goes_on_without_a_result_and_says_so(thinking: Daemon) -> None:
    wire = thinking.wire()
    wire.call("generate", prompt=ASK, session="on")
    seen = wire.call("generate", prompt="shown", session="on", stream=False)
    assert seen["unanswered_calls"] == 1
    roles = [message["role"] for message in json.loads(seen["text"])["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]
    assert "unanswered_calls" not in wire.call("generate", prompt="say yes", session="on")


def test_results_that_wait_behind_a_turn_are_looked_at_when_it_has_ended(thinking: Daemon) -> None:
    wire = thinking.wire()
    first = wire.begin("generate", prompt="think it over; hang", session="behind")
    while "over" not in (wire.read()["params"].get("text") or ""):
        pass
    waiting = wire.begin("generate", messages=[result("c1")], session="behind")
    assert len(turns(thinking, "behind")) == 2
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": first}})
    error = wire.until(waiting)[0]["error"]
    assert "no call waits" in error["message"]
    one, two = turns(thinking, "behind")
    assert (one["state"], one["reasoning"], one["answer"]) == ("stopped", "it over", None)
    assert (two["state"], two["error"]) == ("failed", "InvalidParams")


def test_a_broken_off_call_is_kept_as_far_as_it_came(thinking: Daemon) -> None:
    wire = thinking.wire()
    first = wire.begin("generate", prompt='think hm; say so; call weather {"city": "Po; hang', session="broken")
    while "Po" not in (wire.read()["params"].get("text") or ""):
        pass
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": first}})
    assert wire.until(first)[0]["error"]["code"] == -32800
    (turn,) = turns(thinking, "broken")
    assert (turn["answer"], turn["reasoning"], turn["state"]) == ("so", "hm", "stopped")
    assert turn["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Po'}
    seen = shown(thinking, "broken")["messages"]
    assert [(message["role"], message.get("tool_calls")) for message in seen][1:] == [
        ("assistant", None),
        ("user", None),
    ]


def test_how_it_thinks_is_remembered_and_a_mode_may_say_it(thinking: Daemon) -> None:
    assert shown(thinking, "quiet", reasoning="off", dry={"multiplier": 0.5})["reasoning"] == "off"
    assert shown(thinking, "quiet")["reasoning"] == "off"
    info = thinking.wire().call("sessions.show", session="quiet")["session"]
    assert info["params"]["reasoning"] == "off"
    assert info["params"]["dry"]["multiplier"] == 0.5
    (thinking.home / "config.toml").write_text('[modes.quick]\nreasoning = "off"\n')
    text = thinking.wire().call("generate", prompt="shown", mode="quick")["text"]
    assert json.loads(text)["reasoning"] == "off"


def test_remembered_tools_are_there_to_choose_from(thinking: Daemon) -> None:
    wire = thinking.wire()
    wire.call("generate", prompt="say x", session="choose", tools=TOOLS)
    choice = {"type": "function", "function": {"name": "weather"}}
    wire.call("generate", prompt="say x", session="choose", tool_choice=choice)
    wire.call("generate", prompt="say x", session="choose", tool_choice="required")
    wire.call("generate", prompt="say x", session="choose", grammar='root ::= "x"')  # no call fits a grammar
    choice["function"]["name"] = "other"
    assert "not among" in wire.fail("generate", prompt="say x", session="choose", tool_choice=choice)["message"]
    wire.call("generate", prompt="say x", session="choose", tools=[])
    error = wire.fail("generate", prompt="say x", session="choose", tool_choice="required")
    assert "there are no `tools`" in error["message"]
    assert len(turns(thinking, "choose")) == 5


def test_more_tools_than_a_conversation_can_show_again(thinking: Daemon) -> None:
    wide = [{"type": "function", "function": {"name": f"f{n}", "description": "x" * 60000}} for n in range(20)]
    error = thinking.wire().fail("generate", prompt="say x", session="wide", tools=wide)
    assert "remembers at most 1048576" in error["message"]
    assert thinking.wire().call("generate", prompt="say x", tools=wide)["text"] == "x"
