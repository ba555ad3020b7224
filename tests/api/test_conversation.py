"""What is wrong with a conversation or its tools, said before a model is loaded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from threadrunner.api.conflicts import conflicts
from threadrunner.api.generation import GenerateParams

CALL = {"id": "1", "function": {"name": "weather", "arguments": {"city": "Bonn"}}}
ASKED = [{"role": "user", "content": "Rain?"}, {"role": "assistant", "tool_calls": [CALL]}]
RESULT = {"role": "tool", "tool_call_id": "1", "content": "yes"}
WEATHER = {"function": {"name": "weather", "parameters": {"type": "object"}}}


def wrong(**params: Any) -> str | None:
    return conflicts(msgspec.convert(params, GenerateParams))


def test_a_round_of_tools_is_a_conversation() -> None:
    assert wrong(messages=[*ASKED, RESULT], tools=[WEATHER], tool_choice="required") is None
    named = {"type": "function", "function": {"name": "weather"}}
    assert wrong(messages=[{"role": "developer", "content": [{"type": "text", "text": "x"}]}], tools=[WEATHER],
                 tool_choice=named) is None  # fmt: skip


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"messages": [*ASKED, {**RESULT, "tool_call_id": "2"}]}, "messages[2]: no call before it has the id '2'"),
        ({"messages": [*ASKED, RESULT, RESULT]}, "messages[3]: no call before it has the id '1'"),
        ({"messages": [*ASKED, {"role": "tool", "content": "x"}]}, "needs `tool_call_id`"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]}, "only an assistant has `tool_calls`"),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL, CALL]}]}, "two calls have the id '1'"),
        ({"messages": [{"role": "user"}]}, "messages[0]: it has no `content`"),
        ({"prompt": "x", "tools": [WEATHER, WEATHER]}, "two are named 'weather'"),
        ({"prompt": "x", "tool_choice": "required"}, "there are no `tools`"),
        ({"prompt": "x", "tools": [WEATHER], "tool_choice": {"function": {"name": "time"}}}, "names 'time'"),
        (
            {"prompt": "x", "tools": [{"function": {"name": "big", "parameters": {"title": "x" * 2**18}}}]},
            "'big' has",
        ),
        ({"prompt": "x", "json_schema": {"title": "x" * 300_000}}, "`json_schema` has more than"),
        ({"prompt": "x", "tools": [WEATHER], "grammar": 'root ::= "a"'}, "at most one of `grammar` and `tools`"),
        ({"prompt": "x", "tools": [WEATHER], "raw": True}, "leave out `messages`, `system`, `memory` and `tools`"),
        ({"prompt": "x", "prompt_tokens": [1]}, "exactly one of"),
        ({"prompt": "x", "echo": True}, "give `raw` too"),
    ],
)
def test_what_contradicts_itself_is_said_in_words(params: dict[str, Any], said: str) -> None:
    assert said in (wrong(**params) or "nothing")


@pytest.mark.parametrize(
    "params",
    [
        {"messages": [{"role": "wizard", "content": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"arguments": "{}"}}]}]},
        {"prompt": "x", "tools": [WEATHER] * 500},
        {"prompt": "x", "tools": [{"function": {"name": "bad name"}}]},
        {"prompt": "x", "prompt_tokens": []},
    ],
)
def test_what_the_types_refuse(params: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(params, GenerateParams)
