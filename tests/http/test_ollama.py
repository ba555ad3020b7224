"""Ollama's interface, over a real port."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http.served import Reply, Served
from threadrunner.http.ollama_conversation import seconds
from threadrunner.http.ollama_facts import capabilities, shown

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SAID = "lorem ipsum dolor sit amet hello."


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "dummy", "messages": [{"role": "user", "content": text}], **more}


def lines(answer: Reply) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.body.decode().splitlines()]


def test_it_streams_unless_told_not_to(served: Served) -> None:
    told = lines(served.post("/api/chat", chat("hello")))
    assert "".join(line["message"]["content"] for line in told) == SAID
    assert {line["message"]["role"] for line in told} == {"assistant"} and {line["model"] for line in told} == {"dummy"}
    assert [line["done"] for line in told] == [False] * (len(told) - 1) + [True]
    last = told[-1]
    assert last["done_reason"] == "stop" and last["eval_count"] == 6 and last["prompt_eval_count"] == 1
    for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
        assert isinstance(last[name], int) and 0 <= last[name] < 60e9
    assert last["total_duration"] > 10_000, "nanoseconds"
    whole = served.post("/api/chat", chat("hello", stream=False)).json
    assert whole["message"] == {"role": "assistant", "content": SAID} and whole["done"] is True


def test_generate_says_response(served: Served) -> None:
    told = lines(served.post("/api/generate", {"model": "dummy:latest", "prompt": "hello", "context": [1, 2]}))
    assert "".join(line["response"] for line in told) == SAID and told[-1]["done"]
    raw = {"name": "dummy", "prompt": "hello", "raw": True, "stream": False, "options": {"num_predict": 2}}
    answer = served.post("/api/generate", raw).json
    assert answer["response"] == "lorem ipsum" and answer["done_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_a_calls_arguments_are_an_object(served: Served, stream: bool) -> None:
    """8: lost, twice, as text."""
    answer = served.post("/api/chat", chat('!call weather {"city": "Bonn"}', tools=[TOOL], stream=stream))
    told = lines(answer) if stream else [answer.json]
    (call,) = [call for line in told for call in line["message"].get("tool_calls", [])]
    assert call["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Bonn"}} and call["id"]
    assert told[-1]["done_reason"] == "stop" and "".join(line["message"]["content"] for line in told) == ""


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_cannot_be_parsed_is_shown(served: Served, stream: bool) -> None:
    """1: nothing is lost, and no program is told to act on half of it."""
    answer = served.post("/api/chat", chat('!call weather {"city": "Bo', tools=[TOOL], stream=stream))
    told = lines(answer) if stream else [answer.json]
    assert "".join(line["message"]["content"] for line in told) == 'weather({"city": "Bo'
    assert not any("tool_calls" in line["message"] for line in told)


@pytest.mark.parametrize("stream", [False, True])
def test_a_thought_is_apart(served: Served, stream: bool) -> None:
    for more, thought in (
        ({}, "of Bonn"),
        ({"think": True}, "of Bonn"),
        ({"think": "low"}, "of Bonn"),
        ({"think": False}, ""),
    ):
        answer = served.post("/api/chat", chat("!think of Bonn\nhello", stream=stream, **more))
        told = lines(answer) if stream else [answer.json]
        assert "".join(line["message"].get("thinking", "") for line in told) == thought
        assert "".join(line["message"]["content"] for line in told) == SAID


CALLED = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"a": 1}}}]}
TWICE = {**CALLED, "tool_calls": [{"function": {"name": name, "arguments": {}}} for name in ("weather", "time")]}
USER = {"role": "user", "content": "hello"}
ODD: list[dict[str, Any]] = [
    {"options": None, "format": None, "tools": None, "think": None, "keep_alive": None, "images": None},
    {
        "options": {"seed": -1, "num_ctx": 4096, "num_predict": -2, "stop": ["x"], "num_gpu": 1, "top_k": 20},
        "format": "",
    },
    {"keep_alive": "5m"},
    {"keep_alive": -1},
    {"messages": [USER, CALLED, {"role": "tool", "tool_name": "weather", "content": "sunny"}]},
    {
        "messages": [
            USER,
            TWICE,
            {"role": "tool", "tool_name": "time", "content": "2"},
            {"role": "tool", "content": "x"},
        ]
    },
    {"messages": [USER, {"role": "tool", "tool_name": "weather", "content": "sunny"}]},
    {"messages": [{"role": "system", "content": "be brief"}, {**USER, "images": []}]},
]


@pytest.mark.parametrize("more", ODD)
def test_what_clients_send_is_taken(served: Served, more: dict[str, Any]) -> None:
    answer = served.post("/api/chat", chat("hello", stream=False, **more))
    assert answer.status == 200, answer.body


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{**USER, "images": ["a!"]}]}, "messages[0].images[0]"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ({"options": {"temperature": -1}}, "temperature"),
    ({"format": "xml"}, "format"),
    ({"keep_alive": "soon"}, "keep_alive"),
    ({"keep_alive": "9" * 400}, "keep_alive"),
    ({"model": None}, "model"),
]


@pytest.mark.parametrize(("more", "place"), WRONG)
def test_what_is_wrong_is_a_text(served: Served, more: dict[str, Any], place: str) -> None:
    answer = served.post("/api/chat", chat("hello", **more))
    assert answer.status == 400 and list(answer.json) == ["error"] and place in answer.json["error"]
    assert served.post("/api/chat", {**chat("x"), "model": "no-such"}).status == 404


def test_an_empty_prompt_loads_and_unloads(served: Served) -> None:
    for path, body, kept in (
        ("/api/generate", {"prompt": ""}, "10m"),
        ("/api/chat", {"messages": []}, 1e308),
        ("/api/chat", {"messages": []}, 10**400),
    ):
        loaded = served.post(path, {"model": "dummy", **body, "keep_alive": kept}).json
        assert loaded["done"] and loaded["done_reason"] == "load"
        (running,) = served.get("/api/ps").json["models"]
        assert running["name"] == "dummy" and running["context_length"] == 4096
        assert running["expires_at"] > running["expires_at"][:4]
        assert served.post(path, {"model": "dummy", **body, "keep_alive": 0}).json["done_reason"] == "unload"
        assert served.get("/api/ps").json["models"] == []


def test_what_it_says_of_itself(served: Served) -> None:
    assert served.get("/").body == b"Ollama is running"
    assert served.ask("HEAD", "/").status == 200
    assert b"Ollama" not in served.get("/", accept="text/html,*/*;q=0.8").body
    for path in ("/api/version", "/api/tags"):
        assert served.get(path).status == served.ask("HEAD", path).status == 200
    assert tuple(map(int, served.get("/api/version").json["version"].split("."))) >= (0, 6, 4)
    (first, *_) = served.get("/api/tags").json["models"]
    assert first["name"] == first["model"] == "dummy" and first["details"]["format"] == "gguf"
    for name in ("name", "model"):
        known = served.post("/api/show", {name: "dummy"}).json
        assert known["capabilities"] == ["completion", "tools"] and known["details"] and known["model_info"]


@pytest.mark.parametrize(
    ("method", "path", "command"),
    [
        ("POST", "pull", "models pull x:y"),
        ("DELETE", "delete", "models rm x:y"),
        ("POST", "create", ""),
        ("POST", "push", ""),
    ],
)
def test_models_are_not_changed_over_http(served: Served, method: str, path: str, command: str) -> None:
    answer = served.ask(method, f"/api/{path}", {"model": "x:y"})
    assert answer.status == 403 and command in answer.json["error"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (300, 300),
        (0, 0),
        (-1, -1),
        (-5.0, -1),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("-1m", -1),
        ("30", 30),
    ],
)
def test_keep_alive(given: Any, meant: float) -> None:
    assert seconds(given) == meant


def test_what_a_model_can_do() -> None:
    """Continue looks for `.Suffix` in the template and `num_ctx` in the parameters; Copilot and Roo for `tools`."""
    coder = {"name": "c", "architecture": "qwen2", "chat_template": True, "fim": True, "templates": {"default": "x"}}
    assert capabilities(coder) == ["completion", "tools", "insert"]
    assert capabilities({**coder, "fim": False, "templates": {"default": "</think>"}})[2:] == ["thinking"]
    assert capabilities({"name": "e", "architecture": "nomic-bert"}) == ["embedding"]
    said = {"defaults": {"temperature": 0.6, "top_k": 40}, "origins": {"temperature": "file", "top_k": "default"}}
    told = shown({**coder, **said, "context": 4096, "parameters": 494032768}, "")
    assert ".Suffix" in told["template"] and ".Suffix" not in shown({**coder, "fim": False}, "")["template"]
    assert [line.split() for line in told["parameters"].splitlines()] == [["temperature", "0.6"], ["num_ctx", "4096"]]
    assert told["model_info"]["qwen2.context_length"] == 4096 and told["details"]["parameter_size"] == "494.03M"
