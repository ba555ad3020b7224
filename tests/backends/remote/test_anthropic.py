"""Anthropic's events, as its documentation shows them."""

from __future__ import annotations

from typing import Any

import msgspec

from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.backends.remote import anthropic
from threadrunner.backends.remote.answers import RemoteAnswer
from threadrunner.backends.remote.anthropic import MessageEvents
from threadrunner.backends.remote.dialects import BY_NAME

START = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1}}}  # fmt: skip  # noqa: E501


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **parts: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": parts}


def end(reason: str) -> list[dict[str, Any]]:
    said = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}}
    return [said, {"type": "message_stop"}]


def result(*events: dict[str, Any], has_schema: bool = False) -> Generated:
    answer, shape = RemoteAnswer(1, GenerateParams(prompt="x")), MessageEvents(has_schema=has_schema)
    for event in events:
        if (chunk := shape.chunk(event)) is not None:
            answer.feed(chunk)
    return answer.result("remote:claude/m", "api.anthropic.com")


def test_thought_text_and_a_call() -> None:
    found = result(
        START, {"type": "ping"},
        block(0, type="thinking", thinking=""), delta(0, type="thinking_delta", thinking="hm"),
        delta(0, type="signature_delta", signature="xx"), {"type": "content_block_stop", "index": 0},
        block(1, type="text", text=""), delta(1, type="text_delta", text="Let me "),
        delta(1, type="text_delta", text="see"),
        block(2, type="tool_use", id="t1", name="weather", input={}),
        delta(2, type="input_json_delta", partial_json='{"city":'),
        delta(2, type="input_json_delta", partial_json=' "Bonn"}'),
        *end("tool_use"),
    )  # fmt: skip
    assert (found.text, found.reasoning, found.finish_reason) == ("Let me see", "hm", "tool_calls")
    (call,) = found.tool_calls or []
    assert (call.id, call.function.name, call.function.arguments) == ("t1", "weather", '{"city": "Bonn"}')
    assert (found.usage.prompt_tokens, found.usage.cached_tokens, found.usage.completion_tokens) == (7, 4, 9)


def test_an_answer_that_fits_a_schema_is_a_tools_arguments() -> None:
    params = msgspec.convert({"prompt": "x", "json_schema": {"type": "object"}}, GenerateParams)
    body = anthropic.request(BY_NAME["anthropic"], "m", params)
    assert body["tool_choice"] == {"type": "tool", "name": "answer"}
    assert body["tools"][0]["input_schema"] == {"type": "object"}
    assert "response_format" not in body
    found = result(
        START, block(0, type="tool_use", id="t", name="answer", input={}),
        delta(0, type="input_json_delta", partial_json='{"a": 1}'), *end("tool_use"), has_schema=True,
    )  # fmt: skip
    assert (found.text, found.finish_reason) == ('{"a": 1}', "stop")


def test_an_error_event_is_one_of_the_other_shape() -> None:
    shape = MessageEvents(has_schema=False)
    error = {"type": "overloaded_error", "message": "Overloaded"}
    assert shape.chunk({"type": "error", "error": error}) == {"error": error}


def test_choices_of_tools() -> None:
    def body(**given: Any) -> dict[str, Any]:
        tools = [{"type": "function", "function": {"name": "f"}}]
        params = msgspec.convert({"prompt": "x", "tools": tools, **given}, GenerateParams)
        return anthropic.request(BY_NAME["anthropic"], "m", params)

    assert "tool_choice" not in body()
    assert body(tool_choice="required")["tool_choice"] == {"type": "any"}
    assert body(tool_choice="none")["tool_choice"] == {"type": "none"}
    named = {"type": "function", "function": {"name": "f"}}
    assert body(tool_choice=named)["tool_choice"] == {"type": "tool", "name": "f"}
    assert body(parallel_tool_calls=False)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body(reasoning_budget=1024)["thinking"] == {"type": "enabled", "budget_tokens": 1024}
