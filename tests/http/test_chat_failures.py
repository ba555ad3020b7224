"""What users of other servers reported most about chat, each as a test by its name; the others are in test_hangups."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.http.served import JSON, Reply, Served
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.http import failures

PATH = "/v1/chat/completions"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TIME = {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}


def chat(*said: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    """Texts are the user's."""
    messages = [{"role": "user", "content": text} if isinstance(text, str) else text for text in said]
    return {"model": "default", "messages": messages, "temperature": 0, "max_tokens": 4, **more}


def answer_of(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    message: dict[str, Any] = reply.json["choices"][0]["message"]
    return message


# 1


@pytest.mark.parametrize("arguments", ['{"city": ', "[1]", "no JSON at all"])
def test_a_call_that_cannot_be_parsed_is_no_500_and_loses_no_text(served: Served, arguments: str) -> None:
    message = answer_of(served.post(PATH, chat(f"!call weather {arguments}", tools=[WEATHER])))
    assert message["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize("arguments", ['{"city": ', "", {"city": "Bonn"}])
def test_a_history_with_a_broken_call_goes_on(tiny: Served, arguments: Any) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "no such city"}
    answer_of(tiny.post(PATH, chat("hi", asked, result, tools=[WEATHER])))


def test_a_thought_that_is_cut_is_not_the_text(served: Served) -> None:
    choice = served.post(PATH, chat("!think of Bonn\nhello", max_tokens=1)).json["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["reasoning_content"] == "of Bonn" and "Bonn" not in choice["message"]["content"]


# 2

ODD_SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)y"}}},
    {"type": "object", "properties": {"a": {"type": "string", "maxLength": 100_000}}},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
    {"type": "object", "properties": {"a": {"type": ["string", "null"], "anyOf": [{}, {"not": {}}]}}},
    {"$schema": "http://json-schema.org/draft-07/schema#"},
    {},
]


def test_one_odd_schema_of_a_tool_does_not_end_all_requests(tiny: Served) -> None:
    tools = [WEATHER] + [
        {"type": "function", "function": {"name": f"odd{i}", "parameters": schema}}
        for i, schema in enumerate(ODD_SCHEMAS)
    ]
    answer_of(tiny.post(PATH, chat("hi", tools=tools)))


def test_a_schema_that_cannot_be_held_is_an_error_and_never_dropped(tiny: Served) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)y"}}, "required": ["a"]}
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = tiny.post(PATH, chat("hi", response_format=shape))
    assert reply.status == 400 and "pattern" in reply.json["error"]["message"], reply.body


def test_a_schema_is_kept_to(tiny: Served) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["yes"]}}, "required": ["a"]}
    for shape in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}},
        {"response_format": {"type": "json_object", "schema": schema}},
        {"json_schema": schema},
    ):
        assert json.loads(answer_of(tiny.post(PATH, chat("hi", **shape, max_tokens=64)))["content"]) == {"a": "yes"}


# 5


def test_no_chunk_lacks_a_member_that_strict_clients_require(served: Served) -> None:
    script = "!think of Bonn\n!call weather {}"
    for more in ({}, {"stream_options": {"include_usage": True}}, {"stream_options": None}):
        *chunks, done = served.post(PATH, chat(script, tools=[WEATHER], stream=True, **more)).events
        assert done == "[DONE]"
        for chunk in chunks:
            assert chunk["id"] and chunk["object"] and chunk["created"] and chunk["model"] and "choices" in chunk
            for choice in chunk["choices"]:
                assert {"index", "delta", "finish_reason"} <= set(choice)
                assert all("index" in part for part in choice["delta"].get("tool_calls", []))
        assert "timings" in chunks[-1] and ("usage" in chunks[-1]) == bool(more.get("stream_options"))


# 7


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_does_not_fit_is_an_error_with_both_numbers(tiny: Served, stream: bool) -> None:
    reply = tiny.post(PATH, chat("x" * 5000, stream=stream))
    error = reply.json["error"]
    assert reply.status == 400 and error["code"] == "context_length_exceeded"
    assert error["n_prompt_tokens"] > 5000 and error["n_ctx"] == 4096
    assert str(error["n_prompt_tokens"]) in error["message"] and "4096" in error["message"]


# 8


def test_streamed_calls_are_whole_and_said_once(served: Served) -> None:
    script = '!call weather {"city": "Bonn"}\n!call time {"zone": "CET"}'
    chunks = served.post(PATH, chat(script, tools=[WEATHER, TIME], stream=True)).events[:-1]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert not any(delta.get("content") for delta in deltas)
    calls: dict[int, list[dict[str, Any]]] = {}
    for part in (part for delta in deltas for part in delta.get("tool_calls", [])):
        calls.setdefault(part["index"], []).append(part)
    assert sorted(calls) == [0, 1]
    for parts, name in zip(calls.values(), ("weather", "time"), strict=True):
        assert [part["function"]["name"] for part in parts if "name" in part["function"]] == [name]
        assert [part["type"] for part in parts if "id" in part] == ["function"] and "id" in parts[0]
        assert json.loads("".join(part["function"]["arguments"] for part in parts))
    assert calls[0][0]["id"] != calls[1][0]["id"]
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert reasons == ["tool_calls"]


CHOICES: list[tuple[Any, str | None]] = [
    ("required", "weather"),
    ("any", "weather"),
    ({"type": "function", "function": {"name": "time"}}, "time"),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TIME]}}, "time"),
    ("none", None),
    ("auto", None),
    ({"type": "web_search"}, None),
]


@pytest.mark.parametrize(("choice", "called"), CHOICES)
def test_tool_choice_is_heard(served: Served, choice: Any, called: str | None) -> None:
    message = answer_of(served.post(PATH, chat("hello", tools=[WEATHER, TIME], tool_choice=choice)))
    assert [call["function"]["name"] for call in message.get("tool_calls", [])] == ([called] if called else [])


def test_a_call_that_is_asked_for_without_functions_is_an_error(served: Served) -> None:
    for tools in ([], [{"type": "web_search"}]):
        reply = served.post(PATH, chat("hello", tools=tools, tool_choice="required"))
        assert reply.status == 400 and reply.json["error"]["param"] == "tool_choice"
    assert served.post(PATH, chat("hello", tool_choice=["auto"])).status == 400


# 9


def test_a_conversation_that_grows_is_evaluated_once(tiny: Served) -> None:
    first = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one " * 60}]
    answer = tiny.post(PATH, {"model": "tiny", "messages": first, "max_tokens": 3, "temperature": 0}).json
    said = {"role": "assistant", "content": answer["choices"][0]["message"]["content"] or "x"}
    more = [*first, said, {"role": "user", "content": "two"}]
    usage = tiny.post(PATH, {"model": "tiny", "messages": more, "max_tokens": 1}).json["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] >= answer["usage"]["prompt_tokens"] - 8


def test_all_names_of_a_model_are_one_model(tiny: Served) -> None:
    for name in ("tiny", "tiny.gguf", "default", ""):
        assert tiny.post(PATH, {**chat("hi"), "model": name}).status == 200, name
    status = tiny.daemon.wire().call("status")
    assert [model["name"] for model in status["models"] if "embed" not in model["name"]] == ["tiny.gguf"]


# 10


def test_what_a_template_refuses_is_put_so_that_it_takes_it(tiny: Served) -> None:
    system, developer = {"role": "system", "content": "a"}, {"role": "developer", "content": "b"}
    for said in (
        (system, developer, "hi"),
        ("hi", {"role": "assistant", "content": "x"}, system, "again"),
        ("one", "two", "three"),
        (system,),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},),
    ):
        answer_of(tiny.post(PATH, chat(*said)))


# an answer at the end


def test_an_answer_at_the_end_is_continued(tiny: Served) -> None:
    """aider sends `prefix: true` with it, llama-server's clients nothing."""
    begun = {"role": "assistant", "content": "The", "prefix": True}
    answer = tiny.post(PATH, chat("hi", begun)).json
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nThe"
    plain = {"model": "tiny", "prompt": text, "max_tokens": 4, "temperature": 0}
    wanted = tiny.post("/v1/completions", plain).json
    assert answer["usage"]["prompt_tokens"] == wanted["usage"]["prompt_tokens"]
    assert answer["choices"][0]["message"]["content"] == wanted["choices"][0]["text"]


def test_two_answers_at_the_end_are_an_error(served: Served) -> None:
    said = {"role": "assistant", "content": "The"}
    reply = served.post(PATH, chat("hi", said, said))
    assert reply.status == 400 and "join them" in reply.json["error"]["message"]


# numbers


@pytest.mark.parametrize("stream", [False, True])
def test_n_and_logprobs(tiny: Served, stream: bool) -> None:
    reply = tiny.post(PATH, chat("hi", n=2, logprobs=True, top_logprobs=2, stream=stream))
    if stream:
        choices = [choice for chunk in reply.events[:-1] for choice in chunk["choices"]]
        assert [choice["index"] for choice in choices if choice["finish_reason"]] == [0, 1]
        texts = ["".join(c["delta"].get("content", "") for c in choices if c["index"] == i) for i in (0, 1)]
        told = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    else:
        told = [choice["logprobs"] for choice in reply.json["choices"]]
        texts = [choice["message"]["content"] for choice in reply.json["choices"]]
    assert len(told) == 2
    for logprobs, text in zip(told, texts, strict=True):
        assert "".join(token["token"] for token in logprobs["content"]) == text
        first = logprobs["content"][0]
        assert first["logprob"] <= 0 and len(first["top_logprobs"]) == 2 and first["bytes"] is not None


def test_progress_of_a_prompt_as_llama_server_tells_it(tiny: Served) -> None:
    reply = tiny.post(PATH, chat("y" * 3000, stream=True, return_progress=True, timings_per_token=True))
    told = [chunk["prompt_progress"] for chunk in reply.events[:-1] if "prompt_progress" in chunk]
    assert told and all({"total", "cache", "processed", "time_ms"} == set(progress) for progress in told)
    done = [progress["processed"] for progress in told]
    assert done == sorted(done) and done[0] > 0 and {progress["total"] > 3000 for progress in told} == {True}


# an error after the first word


MANY = "word " * 50_000
STREAMS = [
    (PATH, {"messages": [{"role": "user", "content": MANY}]}),
    ("/v1/completions", {"prompt": MANY, "max_tokens": 10**6}),
    ("/v1/responses", {"input": MANY}),
]


@pytest.mark.parametrize(("path", "body"), STREAMS)
def test_an_error_in_mid_stream_is_the_last_event(served: Served, path: str, body: dict[str, Any]) -> None:
    answer_of(served.post(PATH, chat("hello")))
    (worker,) = served.daemon.workers()
    connection = served.open()
    connection.request("POST", path, json.dumps({"model": "dummy", "stream": True, **body}), JSON)
    response = connection.getresponse()
    begun = response.read(2000)
    assert response.status == 200 and begun
    os.kill(worker, signal.SIGKILL)
    lines = (begun + response.read()).decode().splitlines()
    last = json.loads([line for line in lines if line.startswith("data: ")][-1].removeprefix("data: "))
    assert "data: [DONE]" not in lines
    if path == "/v1/responses":
        assert last["type"] == "response.failed" and last["response"]["status"] == "failed"
        last = last["response"]
    assert last["error"]["message"] and last["error"]["code"] in ("server_error", None), last["error"]
    connection.close()


# where files are


def test_an_error_names_a_file_and_not_its_folder() -> None:
    path = "/home/me/my models/a.gguf"
    failure = failures.of(ModelLoadFailed(f"{path} is damaged; remove it", path=path, incomplete=True))
    assert failure.message == "a.gguf is damaged; remove it" and failure.facts == {
        "kind": "ModelLoadFailed",
        "incomplete": True,
    }
    for text, told in (
        ("~/models/a.gguf is still being written", "a.gguf is still being written"),
        ("run `chmod 600 /home/me/a.gguf`", "run `chmod 600 a.gguf`"),
        ("see https://example.org/a/b and docs/http.md", "see https://example.org/a/b and docs/http.md"),
    ):
        assert failures.of(ModelLoadFailed(text)).message == told
