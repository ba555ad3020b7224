"""OpenAI's chat completions, over a real port."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.served import Served

PATH = "/v1/chat/completions"
SAID = {"role": "assistant", "refusal": None, "annotations": []}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "default", "messages": [{"role": "user", "content": text}], **more}


def test_an_answer_has_all_that_strict_clients_require(served: Served) -> None:
    answer = served.post(PATH, chat("hello"))
    assert answer.status == 200
    body = answer.json
    assert body["object"] == "chat.completion" and body["model"] == "default" and isinstance(body["created"], int)
    (choice,) = body["choices"]
    assert choice["index"] == 0 and choice["finish_reason"] == "stop" and choice["logprobs"] is None
    assert choice["message"] == {
        "role": "assistant",
        "content": "lorem ipsum dolor sit amet hello.",
        "refusal": None,
        "annotations": [],
    }
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_a_stream_is_chunks_then_the_reason_then_usage_then_done(served: Served) -> None:
    answer = served.post(PATH, chat("hello", stream=True, stream_options={"include_usage": True}))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    *chunks, done = answer.events
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert said == "lorem ipsum dolor sit amet hello."
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize("stream", [False, True])
def test_a_call(served: Served, stream: bool) -> None:
    answer = served.post(PATH, chat('!call weather {"city": "Bonn"}', tools=[TOOL], stream=stream))
    if not stream:
        (choice,) = answer.json["choices"]
        assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
        (call,) = choice["message"]["tool_calls"]
        assert call["type"] == "function" and call["id"]
        assert call["function"] == {"name": "weather", "arguments": '{"city": "Bonn"}'}
        return
    chunks = [chunk for chunk in answer.events[:-1] if chunk["choices"]]
    parts = [part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert parts[0]["index"] == 0 and parts[0]["id"] and parts[0]["type"] == "function"
    assert parts[0]["function"]["name"] == "weather"
    assert "".join(part["function"]["arguments"] for part in parts) == '{"city": "Bonn"}'
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
def test_a_thought_is_apart(served: Served, stream: bool) -> None:
    answer = served.post(PATH, chat("!think of Bonn\nhello", stream=stream))
    if stream:
        deltas = [chunk["choices"][0]["delta"] for chunk in answer.events[:-1] if chunk["choices"]]
        assert "".join(delta.get("reasoning_content", "") for delta in deltas).split() == ["of", "Bonn"]
    else:
        assert answer.json["choices"][0]["message"]["reasoning_content"].split() == ["of", "Bonn"]


PARTS = [{"type": "text", "text": "hello", "cache_control": {}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
ROUND = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
]
ODD: list[dict[str, Any]] = [
    {"stop": None, "n": None, "temperature": None, "max_tokens": None, "tools": None, "response_format": None},
    {"seed": -1, "top_k": -1, "stop": ["", "x"], "user": "me", "metadata": {"a": 1}, "no_such": True},
    {"max_completion_tokens": 3, "max_tokens": 100, "logit_bias": {}, "service_tier": "auto"},
    {"messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "content": PARTS}]},
    {"messages": ROUND, "tools": [TOOL, {"type": "web_search"}]},
]


@pytest.mark.parametrize("more", ODD)
def test_what_clients_send_is_taken(served: Served, more: dict[str, Any]) -> None:
    answer = served.post(PATH, chat("hello", **more))
    assert answer.status == 200, answer.body


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"temperature": -1}, "temperature"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "king", "content": ""}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
    ({"n": 9}, "n"),
    ({"n": 1.5}, "n"),
    ({"response_format": {"type": "json_schema"}}, "response_format.schema"),
    ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
]


@pytest.mark.parametrize(("more", "place"), WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_named_with_a_status(served: Served, more: dict[str, Any], place: str, stream: bool) -> None:
    answer = served.post(PATH, chat("hello", stream=stream, **more))
    assert answer.status == 400
    error = answer.json["error"]
    assert error["type"] == "invalid_request_error" and error["param"] == place and place in error["message"]


def test_a_name_that_is_not_known_and_a_path_are_not_found(served: Served) -> None:
    for name in ("no-such", "/etc/passwd", "./model.gguf", "~/x.gguf"):
        answer = served.post(PATH, {**chat("x"), "model": name})
        assert answer.status == 404 and answer.json["error"]["code"] == "model_not_found", answer.body


def test_a_conversation_is_the_shells(served: Served) -> None:
    ours = {"session": "trip"}
    first = served.post(PATH, chat("one", threadrunner=ours))
    assert first.json["threadrunner"] == {"session": "trip"}
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "…"}]
    second = {**chat("", threadrunner=ours), "messages": [*history, {"role": "user", "content": "two"}]}
    assert served.post(PATH, second).status == 200
    shown = served.daemon.wire().call("sessions.show", session="trip")
    assert [turn["prompt"] for turn in shown["turns"]] == ["one", "two"]
