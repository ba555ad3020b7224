"""What only a model can show: counts, the cache, limits, templates, infilling, vectors. The model is a tiny one whose
words mean nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny
from tests.http.served import Served, serving

MARKS = ("<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('late') }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content }}{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}<|im_start|>assistant\n"
)
SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Bonn"]}}, "required": ["city"]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from serving_model(tmp_path_factory.mktemp("model"))


def serving_model(folder: Path, context: int = tiny.CONTEXT) -> Iterator[Served]:
    """`serve` before a daemon with a model `tiny`, which any `claude-…` means too."""
    words = tiny.bytes_vocabulary(dict.fromkeys(MARKS, tiny.CONTROL))
    texts = {**words, "tokenizer.chat_template": TEMPLATE}
    path = tiny.llama(folder / "tiny.gguf", texts, context_length=context)
    aliases = f'[aliases]\n"claude-*" = "tiny"\ntiny = "{path}"\n'
    env = {"THREADRUNNER_BACKEND": "llama", "THREADRUNNER_MODEL": "tiny", "THREADRUNNER_THREADS": "1"}
    yield from serving(config=aliases, **env)


def ask(content: Any, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"model": "claude-x", "max_tokens": 4, "temperature": 0, "messages": messages, **more}


def whole_prompt(usage: dict[str, int]) -> int:
    return usage["input_tokens"] + usage["cache_read_input_tokens"]


def test_count_tokens_counts_what_is_evaluated(served: Served) -> None:
    tool = {"name": "weather", "input_schema": SCHEMA}
    for more in ({}, {"system": "be brief"}, {"tools": [tool]}, {"tools": [tool], "tool_choice": {"type": "none"}}):
        counted = served.post("/v1/messages/count_tokens?beta=true", ask("hello", **more)).json
        assert list(counted) == ["input_tokens"]
        assert counted["input_tokens"] == whole_prompt(served.post("/v1/messages", ask("hello", **more)).json["usage"])


def test_what_changes_each_time_does_not_spoil_the_cache(served: Served) -> None:
    """9: a line for the service's accounts stands before Claude Code's system prompt, and its `cch` changes."""

    def system(hash: str) -> list[dict[str, str]]:
        line = f"x-anthropic-billing-header: cc_version=2.1.77.ab; cc_entrypoint=cli; cch={hash};"
        return [{"type": "text", "text": line}, {"type": "text", "text": "You are brief. " * 10}]

    first, second = (served.post("/v1/messages", ask("hello", system=system(cch))).json for cch in ("00a1f", "93bc2"))
    assert whole_prompt(first["usage"]) == whole_prompt(second["usage"])
    assert second["usage"]["input_tokens"] <= 2 and second["usage"]["cache_read_input_tokens"] > 150


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_does_not_fit_says_so_with_both_counts(served: Served, stream: bool) -> None:
    """7: cut in silence, or in words that agents cannot read."""
    answer = served.post("/v1/messages", ask("x" * 600, stream=stream))
    assert answer.status == 400 and answer.json["error"]["type"] == "invalid_request_error"
    assert answer.json["error"]["message"].startswith("prompt is too long: 6")
    assert " tokens > 512 maximum" in answer.json["error"]["message"]
    other = served.post("/api/generate", {"model": "default", "prompt": "x" * 600, "stream": stream})
    assert other.status == 400 and "512" in other.json["error"]


ODD_TOOLS: list[dict[str, Any]] = [
    {
        "name": "lookahead",
        "input_schema": {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)y"}}},
    },
    {"name": "no_schema"},
    {"name": "not_a_schema", "input_schema": {"type": "object", "properties": {"a": "bar"}, "required": ["a"]}},
    {"name": "long", "input_schema": {"type": "object", "properties": {"a": {"type": "string", "maxLength": 10000}}}},
]


def test_one_odd_tool_ends_no_request(served: Served) -> None:
    """2: one tool's schema was the end of all requests that came with it."""
    for tool in ODD_TOOLS:
        answer = served.post("/v1/messages", ask("hello", tools=[tool, {"name": "good"}]))
        assert answer.status == 200, answer.body


def test_a_format_that_cannot_be_held_is_refused(served: Served) -> None:
    """2: a grammar that failed was dropped in silence."""
    wrong = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}, "required": ["a"]}
    answer = served.post("/v1/messages", ask("x", output_config={"format": {"type": "json_schema", "schema": wrong}}))
    assert answer.status == 400 and "nowhere" in answer.json["error"]["message"]
    good = {"format": {"type": "json_schema", "schema": SCHEMA}}
    told = served.post("/v1/messages", ask("x", max_tokens=50, output_config=good)).json
    assert json.loads(told["content"][0]["text"]) == {"city": "Bonn"}
    told = served.post("/api/generate", {"model": "tiny", "prompt": "x", "format": SCHEMA, "stream": False}).json
    assert json.loads(told["response"]) == {"city": "Bonn"}


def test_system_messages_where_the_template_takes_none(served: Served) -> None:
    """10: several, late; the same role twice. 9: what was evaluated before one is found in the cache."""
    user = {"role": "user", "content": "hello"}
    late = [user, {"role": "assistant", "content": "hi"}, user, user, {"role": "system", "content": "be brief"}]
    first = served.post("/v1/messages", ask("", system="first", messages=late))
    assert first.status == 200, first.body
    more = [*late, {"role": "assistant", "content": first.json["content"][0]["text"]}, user]
    later = served.post(
        "/v1/messages", ask("", messages=[*more, {"role": "system", "content": "again"}], system="first")
    )
    assert later.json["usage"]["cache_read_input_tokens"] >= whole_prompt(first.json["usage"])


def test_the_stop_text_is_named(served: Served) -> None:
    whole = served.post("/v1/messages", ask("hello", max_tokens=12)).json["content"][0]["text"]
    stop = whole[3]
    told = served.post("/v1/messages", ask("hello", max_tokens=12, stop_sequences=["no such", stop])).json
    assert told["stop_reason"] == "stop_sequence" and told["stop_sequence"] == stop
    assert told["content"][0]["text"] == whole[: whole.index(stop)]


def test_a_call_that_must_be_made_fits_its_schema(served: Served) -> None:
    tool = {"name": "weather", "input_schema": SCHEMA}
    for stream in (False, True):
        more = {"tools": [tool], "tool_choice": {"type": "any"}, "max_tokens": 200, "stream": stream}
        answer = served.post("/v1/messages", ask("hello", **more))
        if not stream:
            (block,) = [block for block in answer.json["content"] if block["type"] == "tool_use"]
            assert block["input"] == {"city": "Bonn"} and answer.json["stop_reason"] == "tool_use"
            continue
        parts = [event["delta"].get("partial_json", "") for event in answer.events if "delta" in event]
        assert json.loads("".join(parts)) == {"city": "Bonn"}


def test_suffix_fills_in(served: Served) -> None:
    body = {"model": "tiny", "prompt": "def f(", "suffix": "):\n", "stream": False, "options": {"num_predict": 8}}
    answer = served.post("/api/generate", body)
    assert answer.status == 200 and answer.json["prompt_eval_count"] > len("def f():\n"), answer.body
    assert answer.json["eval_count"] <= 8
    shown = served.post("/api/show", {"name": "tiny"}).json
    assert shown["capabilities"] == ["completion", "tools", "insert"] and ".Suffix" in shown["template"]
    assert shown["model_info"]["llama.context_length"] == 512 and "num_ctx" in shown["parameters"]


def test_vectors(served: Served) -> None:
    body = {"model": "tiny:latest", "input": ["hello", "hi"], "keep_alive": "5m"}
    answer = served.post("/api/embed", body).json
    assert [len(vector) for vector in answer["embeddings"]] == [tiny.WIDTH] * 2 and answer["prompt_eval_count"] > 0
    many = served.post("/api/embed", {**body, "input": ["a"] * 300, "dimensions": 8}).json["embeddings"]
    assert len(many) == 300 and {len(vector) for vector in many} == {8}
    assert sum(value * value for value in many[0]) == pytest.approx(1)
    assert len(served.post("/api/embed", {**body, "dimensions": 0}).json["embeddings"][0]) == tiny.WIDTH
    refused = served.post("/api/embed", {**body, "dimensions": tiny.WIDTH + 1})
    assert (refused.status, refused.json["error"]) == (400, "`dimensions` is 33; this model's vectors have 32 numbers")
    assert served.post("/api/embed", {**body, "input": []}).json["embeddings"] == []
    assert len(served.post("/api/embeddings", {"model": "tiny", "prompt": "hello"}).json["embedding"]) == tiny.WIDTH
    assert served.post("/api/embed", {**body, "input": [1]}).status == 400


def test_what_can_be_named(served: Served) -> None:
    named = {model["name"]: model for model in served.get("/api/tags").json["models"]}
    assert not any("*" in name or "/" in name for name in named)
    assert named["tiny"]["details"]["family"] == "llama" and named["tiny"]["size"] > 0
    assert named["tiny"]["modified_at"] > "2020"


def test_what_is_loaded(served: Served) -> None:
    (running,) = served.get("/api/ps").json["models"]
    assert running["context_length"] == 512 and "/" not in running["name"] and running["size"] > 0


def test_a_raw_prompt_with_markers_is_code_to_fill_in(tiny: Served) -> None:
    """As Zed asks Ollama for its edit predictions, with the markers of whichever family its user named."""
    prompt = "<PRE> def add(a, b):\n    return  <SUF>\n <MID>"
    asked = {"model": "tiny", "prompt": prompt, "raw": True, "stream": False, "options": {"num_predict": 4}}
    answer = tiny.post("/api/generate", asked).json
    filled = tiny.daemon.wire().call("infill", prefix="def add(a, b):\n    return ", suffix="\n", max_tokens=4)
    assert answer["response"] == filled["text"] and answer["prompt_eval_count"] == filled["usage"]["prompt_tokens"]
