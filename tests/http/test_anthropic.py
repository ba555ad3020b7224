"""Anthropic's messages, over a real port."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http.served import Reply, Served

PATH = "/v1/messages"
TOOL = {"name": "weather", "description": "of a city", "input_schema": {"type": "object"}}


def ask(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "claude-x-1", "max_tokens": 100, "messages": [{"role": "user", "content": content}], **more}


def events(answer: Reply) -> list[dict[str, Any]]:
    """Each with the name in its `event:` line, which is its type."""
    blocks = [block for block in answer.body.decode().split("\n\n") if block]
    pairs = [block.split("\n") for block in blocks]
    told = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]
    assert all(name == data["type"] for name, data in told)
    return [data for _, data in told if data["type"] != "ping"]


def test_an_answer_has_all_its_members(served: Served) -> None:
    """5: `stop_sequence` null was missed by strict readers."""
    answer = served.post(f"{PATH}?beta=true", ask("hello"), **{"anthropic-beta": "no-such-2027-01-01"})
    assert answer.status == 200 and answer.headers["request-id"].startswith("req_")
    body = answer.json
    assert body["id"].startswith("msg_") and body["type"] == "message" and body["role"] == "assistant"
    assert body["model"] == "claude-x-1"
    assert body["content"] == [{"type": "text", "text": "lorem ipsum dolor sit amet hello.", "citations": None}]
    assert body["stop_reason"] == "end_turn" and body["stop_sequence"] is None and "stop_sequence" in body
    counted = body["usage"]
    assert counted["input_tokens"] == 1 and counted["output_tokens"] == 6
    assert counted["cache_read_input_tokens"] == counted["cache_creation_input_tokens"] == 0


def test_a_stream_is_a_message_of_blocks(served: Served) -> None:
    answer = served.post(PATH, ask("!think of Bonn\nhello", stream=True, thinking={"type": "adaptive"}))
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer)
    start = told[0]["message"]
    assert told[0]["type"] == "message_start" and start["content"] == [] and start["stop_sequence"] is None
    assert start["usage"]["input_tokens"] > 0
    opened = [event for event in told if event["type"] == "content_block_start"]
    assert [(event["index"], event["content_block"]["type"]) for event in opened] == [(0, "thinking"), (1, "text")]
    assert [event["index"] for event in told if event["type"] == "content_block_stop"] == [0, 1]
    deltas = [event["delta"] for event in told if event["type"] == "content_block_delta"]
    assert "".join(delta.get("thinking", "") for delta in deltas) == "of Bonn"
    assert deltas[2]["type"] == "signature_delta" and deltas[2]["signature"]
    assert "".join(delta.get("text", "") for delta in deltas) == "lorem ipsum dolor sit amet hello."
    last = told[-2]
    assert last["delta"] == {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None}
    assert last["usage"]["output_tokens"] == 8
    assert told[-1] == {"type": "message_stop"}


@pytest.mark.parametrize("stream", [False, True])
def test_calls_are_whole_and_once(served: Served, stream: bool) -> None:
    """8: lost, twice, as text, without an index or an id, with the wrong reason."""
    text = '!call weather {"city": "Bonn"}\n!call weather {"city": "Köln"}'
    answer = served.post(PATH, ask(text, tools=[TOOL], stream=stream))
    if stream:
        told = events(answer)
        blocks = [event["content_block"] for event in told if event["type"] == "content_block_start"]
        parts: dict[int, str] = {}
        for event in told:
            if event["type"] == "content_block_delta":
                assert event["delta"]["type"] == "input_json_delta"
                parts[event["index"]] = parts.get(event["index"], "") + event["delta"]["partial_json"]
        assert all(block["input"] == {} for block in blocks)
        given = [json.loads(parts[i]) for i in range(2)]
        reason = told[-2]["delta"]["stop_reason"]
    else:
        blocks = answer.json["content"]
        given = [block["input"] for block in blocks]
        reason = answer.json["stop_reason"]
    assert [block["type"] for block in blocks] == ["tool_use"] * 2 and len({block["id"] for block in blocks}) == 2
    assert given == [{"city": "Bonn"}, {"city": "Köln"}] and reason == "tool_use"


def test_one_call_only_where_one_is_wanted(served: Served) -> None:
    text = '!call weather {"city": "Bonn"}\n!call weather {"city": "Köln"}'
    one = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(served.post(PATH, ask(text, tools=[TOOL], tool_choice=one)).json["content"]) == 1
    none = served.post(PATH, ask(text, tools=[TOOL], tool_choice={"type": "none"})).json
    assert none["content"][0]["type"] == "text"
    for must in ({"type": "any"}, {"type": "tool", "name": "weather"}):
        (block,) = served.post(PATH, ask("hello", tools=[TOOL], tool_choice=must)).json["content"]
        assert block["type"] == "tool_use" and block["name"] == "weather"


def test_a_call_that_cannot_be_parsed_is_shown(served: Served) -> None:
    """1: such a call was a 500, or lost with the whole answer."""
    answer = served.post(PATH, ask('!call weather {"city": "Bo', tools=[TOOL]))
    assert answer.status == 200
    assert answer.json["content"][0] == {"type": "text", "text": 'weather({"city": "Bo', "citations": None}


def test_no_thought_where_none_was_asked_for(served: Served) -> None:
    for more in ({}, {"thinking": {"type": "disabled"}}):
        assert [block["type"] for block in served.post(PATH, ask("!think hm\nx", **more)).json["content"]] == ["text"]
    thinking = served.post(PATH, ask("!think hm\nx", thinking={"type": "enabled", "budget_tokens": 1024})).json
    thought = thinking["content"][0]
    assert thought["type"] == "thinking" and thought["thinking"] == "hm" and thought["signature"]
    assert thinking["usage"]["output_tokens_details"] == {"thinking_tokens": 1}


ROUND = [
    {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
            {"type": "text", "text": "I look", "citations": []},
            {
                "type": "tool_use",
                "id": "t1",
                "name": "weather",
                "input": {"city": "Bonn"},
                "caller": {"type": "direct"},
            },
            {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
            {"type": "no_such_block", "x": 1},
            {"type": "text", "text": "and now"},
        ],
    },
]
SERVICE_TOOLS = [{"type": "web_search_20250305", "name": "web_search"}, {"type": "custom", **TOOL}]
ODD: list[dict[str, Any]] = [
    {"stop_sequences": None, "temperature": None, "tools": None, "system": None, "thinking": None, "top_k": None},
    {"stop_sequences": [""], "top_k": -1, "metadata": {"user_id": "x"}, "service_tier": "auto", "no_such": True},
    {"system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]},
    {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]},
    {"messages": ROUND, "tools": SERVICE_TOOLS},
    {"messages": ROUND},
    {"tools": SERVICE_TOOLS[:1], "tool_choice": {"type": "any"}, "context_management": {"edits": []}},
    {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": "x"}}]}]},
    {"messages": [*ROUND[:1], {"role": "assistant", "content": "Well, "}]},
    {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}},
]


@pytest.mark.parametrize("more", ODD)
def test_what_clients_send_is_taken(served: Served, more: dict[str, Any]) -> None:
    """6: unknown betas, blocks and tools, nulls, system messages anywhere."""
    answer = served.post(PATH, ask("hello", **more))
    assert answer.status == 200, answer.body


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "king", "content": ""}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].source.data"),
    ({"temperature": -1}, "temperature"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    ({"tools": [TOOL], "tool_choice": {"type": "maybe"}}, "tool_choice.type"),
    ({"thinking": {"type": "deep"}}, "thinking.type"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.schema"),
    ({"model": None}, "model"),
]


@pytest.mark.parametrize(("more", "place"), WRONG)
def test_what_is_wrong_is_named_in_its_shape(served: Served, more: dict[str, Any], place: str) -> None:
    answer = served.post(PATH, ask("hello", **more))
    assert answer.status == 400
    body = answer.json
    assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"
    assert place in body["error"]["message"] and body["request_id"] == answer.headers["request-id"]


def test_a_picture_in_a_result_is_no_end_of_the_conversation(served: Served) -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [IMAGE]}
    call = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [call]}]
    answer = served.post(PATH, ask("", messages=[*messages, {"role": "user", "content": [result]}]))
    assert answer.status == 200 and "cannot.see" in answer.json["content"][0]["text"].replace(". ", ".")


def test_names_that_no_alias_has_are_not_found(served: Served) -> None:
    """9: a side request for another name must not load another model."""
    answer = served.post(PATH, {**ask("x"), "model": "gpt-x"})
    assert answer.status == 404 and answer.json["error"]["type"] == "not_found_error"


def test_what_claude_code_asks_beside(served: Served) -> None:
    for path in ("/", "/api/hello"):
        for method in ("HEAD", "GET"):
            assert served.ask(method, path).status == 200, path
    assert served.post("/api/event_logging/batch", {"events": [{}]}).status == 200
    assert served.post("/api/event_logging/v2/batch", {"events": [{}]}).status == 200
