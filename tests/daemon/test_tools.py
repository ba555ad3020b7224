"""Calls and thoughts over a real socket: what is streamed, what the result has, what a bad request is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Daemon

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TIME = {"type": "function", "function": {"name": "time"}}


def ask(daemon: Daemon, **params: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result, and the params of its `token` notifications."""
    wire = daemon.wire()
    response, before = wire.until(wire.begin("generate", **params))
    return response["result"], [m["params"] for m in before if m.get("method") == "token"]


def test_a_call_is_streamed_in_pieces(daemon: Daemon) -> None:
    prompt = '!think hm yes\n!call weather {"city": "Bonn"}\n!call time'
    result, tokens = ask(daemon, prompt=prompt, tools=[WEATHER, TIME])
    assert result["finish_reason"] == "tool_calls"
    assert result["reasoning"] == "hm yes"
    assert result["usage"]["reasoning_tokens"] == 2
    names = [(call["function"]["name"], call["function"]["arguments"]) for call in result["tool_calls"]]
    assert names == [("weather", '{"city": "Bonn"}'), ("time", "{}")]
    assert "".join(t["text"] for t in tokens if t.get("kind") == "reasoning") == "hm yes"
    calls = [t for t in tokens if t.get("kind") == "call"]
    first = {"index": 0, "id": result["tool_calls"][0]["id"], "name": "weather"}
    assert calls[0]["call"] == first
    for i, call in enumerate(result["tool_calls"]):
        text = "".join(t["text"] for t in calls if t["call"]["index"] == i)
        assert text == call["function"]["arguments"]


def test_a_plain_answer_has_nothing_new(daemon: Daemon) -> None:
    result, tokens = ask(daemon, prompt="hello", tools=[WEATHER])
    assert not {"tool_calls", "reasoning"} & result.keys()
    assert "reasoning_tokens" not in result["usage"]
    assert all(token.keys() == {"request", "index", "text"} for token in tokens)


@pytest.mark.parametrize(
    ("params", "called"),
    [
        ({"tool_choice": "required"}, ["weather"]),
        ({"tool_choice": {"type": "function", "function": {"name": "time"}}}, ["time"]),
        ({"prompt": "!call time\n!call weather", "parallel_tool_calls": False}, ["time"]),
        ({"prompt": "!call time", "tool_choice": "none"}, []),
    ],
)
def test_the_choice_is_obeyed(daemon: Daemon, params: dict[str, Any], called: list[str]) -> None:
    result, _ = ask(daemon, **{"prompt": "x", "tools": [WEATHER, TIME], **params})
    assert [call["function"]["name"] for call in result.get("tool_calls", [])] == called


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"messages": [{"role": "wizard", "content": "x"}]}, "wizard"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"arguments": "{}"}}]}]}, "name"),
        ({"messages": [{"role": "tool", "tool_call_id": "7", "content": "x"}]}, "no call before it has the id '7'"),
        ({"prompt": "x", "tools": [WEATHER] * 500}, "128"),
        (
            {"prompt": "x", "tools": [{"function": {"name": "big", "parameters": {"title": "x" * 2**20}}}]},
            "the schema of 'big' has",
        ),
    ],
    ids=["role", "nameless", "result", "many", "large"],
)
def test_a_bad_request_is_told_what_is_wrong(daemon: Daemon, params: dict[str, Any], said: str) -> None:
    error = daemon.wire().fail("generate", **params)
    assert error["data"]["kind"] == "InvalidParams"
    assert said in error["message"]
