"""What is sent: only what the request gives, in the server's own words."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from tests.backends.tiny_sight import png
from threadrunner.api.errors import NotSupported
from threadrunner.api.generation import GenerateParams, InfillParams
from threadrunner.backends.remote import anthropic, bodies, middles
from threadrunner.backends.remote.dialects import BY_NAME, of_models
from threadrunner.remote_settings import DIALECTS

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "now", "parameters": SCHEMA}}


def params(**given: Any) -> GenerateParams:
    return msgspec.convert({"prompt": "hi", **given}, GenerateParams)


def infill(**given: Any) -> InfillParams:
    return msgspec.convert({"prefix": "a = ", "suffix": "\nb", **given}, InfillParams)


@pytest.mark.parametrize("dialect", sorted(set(BY_NAME) - {"anthropic"}))
def test_a_plain_prompt_has_nothing_beside_it(dialect: str) -> None:
    """What is the client's and the daemon's own stays between them."""
    ours = {"session": "secret", "mode": "code", "priority": "background", "keep_alive": 5, "timeout": 9,
            "backend": "llama", "default_model": "x", "memory": True, "stream": False}  # fmt: skip
    body = bodies.chat(BY_NAME[dialect], "m", params(**ours))
    allowed = {"stream_options", "store", "return_progress"}
    assert {name: body[name] for name in body if name not in allowed} == {
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True,
    }  # fmt: skip


def test_each_dialect_has_its_words() -> None:
    given = params(max_tokens=3, temperature=0, top_p=0.5, seed=1, stop=["x"])
    common = {"temperature": 0, "top_p": 0.5, "seed": 1, "stop": ["x"]}
    for name, row in BY_NAME.items():
        if name != "anthropic":
            body = bodies.chat(row, "m", given)
            assert common.items() <= body.items()
            assert body["max_completion_tokens" if name == "openai" else "max_tokens"] == 3
    llama, vllm = BY_NAME["llama-server"], BY_NAME["vllm"]
    assert bodies.chat(llama, "m", params(repeat_penalty=1.1, penalty_window=5))["repeat_last_n"] == 5
    assert bodies.chat(vllm, "m", params(repeat_penalty=1.1))["repetition_penalty"] == 1.1
    xtc = bodies.chat(llama, "m", params(xtc={"probability": 0.25, "threshold": 0.5}))
    assert (xtc["xtc_probability"], xtc["xtc_threshold"]) == (0.25, 0.5)
    assert bodies.chat(BY_NAME["openai"], "m", given)["store"] is False


@pytest.mark.parametrize(
    ("dialect", "given"),
    [
        ("openai", {"top_k": 4}),
        ("compatible", {"min_p": 0.1}),
        ("vllm", {"xtc": {}}),
        ("threadrunner", {"dry": {}}),
        ("openai", {"grammar": 'root ::= "a"'}),
        ("openai", {"reasoning": "raw"}),
        ("openai", {"reasoning_budget": 5}),
        ("openai", {"template_vars": {"enable_thinking": False}}),
        ("llama-server", {"context_overflow": "truncate"}),
        ("llama-server", {"prompt_logprobs": 1}),
        ("llama-server", {"echo": True, "raw": True}),
    ],
)
def test_what_a_dialect_has_no_word_for_is_refused_by_name(dialect: str, given: dict[str, Any]) -> None:
    with pytest.raises(NotSupported, match=f"speaks {dialect} takes no") as refused:
        bodies.chat(BY_NAME[dialect], "m", params(**given))
    assert next(iter(given)) in str(refused.value).replace("`", "")


def test_tools_schemas_thoughts_and_grammars() -> None:
    llama, vllm, openai = BY_NAME["llama-server"], BY_NAME["vllm"], BY_NAME["openai"]
    named = {"type": "function", "function": {"name": "weather"}}
    body = bodies.chat(openai, "m", params(tools=[TOOL], tool_choice=named, parallel_tool_calls=False))
    assert body["tools"] == [TOOL]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (named, False)
    assert "tool_choice" not in bodies.chat(openai, "m", params(tools=[TOOL]))
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    assert bodies.chat(vllm, "m", params(json_schema=SCHEMA))["response_format"] == wanted
    wanted["json_schema"]["strict"] = True  # type: ignore[index]
    assert bodies.chat(openai, "m", params(json_schema=SCHEMA))["response_format"] == wanted
    assert bodies.chat(llama, "m", params(json_schema=True))["response_format"] == {"type": "json_object"}
    assert bodies.chat(llama, "m", params(grammar="g"))["grammar"] == "g"
    assert bodies.chat(vllm, "m", params(grammar="g"))["structured_outputs"] == {"grammar": "g"}
    assert bodies.chat(openai, "m", params(template_vars={"reasoning_effort": "low"}))["reasoning_effort"] == "low"
    assert bodies.chat(llama, "m", params(reasoning="off"))["chat_template_kwargs"] == {"enable_thinking": False}
    assert bodies.chat(llama, "m", params(logprobs=2))["top_logprobs"] == 2


CONVERSATION = [
    {"role": "user", "content": "is it cold?"},
    {"role": "assistant", "content": None, "reasoning": "private thought",
     "tool_calls": [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": {"a": 1}}}]},
    {"role": "tool", "tool_call_id": "c", "content": "4"},
    {"role": "user", "content": [{"type": "text", "text": "and"}, {"type": "text", "text": " now?"}]},
]  # fmt: skip


def test_a_conversation_with_calls_in_two_shapes() -> None:
    given = params(prompt=None, messages=CONVERSATION, system="Be brief.")
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
    assert bodies.messages(given) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "is it cold?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "4", "tool_call_id": "c"},
        {"role": "user", "content": "and now?"},
    ]
    body = anthropic.request(BY_NAME["anthropic"], "m", given)
    assert body == {
        "model": "m", "stream": True, "max_tokens": 4096, "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "is it cold?"}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c", "name": "weather", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": "4"}, {"type": "text", "text": "and now?"}]},
        ],
    }  # fmt: skip


def test_pictures_in_two_shapes() -> None:
    data = base64.b64encode(png()).decode()
    given = params(prompt="what is it?", images=[{"type": "image", "data": data}])
    text = {"type": "text", "text": "what is it?"}
    image: dict[str, Any] = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    assert bodies.messages(given) == [{"role": "user", "content": [image, text]}]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    body = anthropic.request(BY_NAME["anthropic"], "m", given)
    assert body["messages"] == [{"role": "user", "content": [image, text]}]
    with pytest.raises(NotSupported, match="pictures beside a raw prompt"):
        bodies.completion(BY_NAME["llama-server"], "m", params(raw=True, images=[{"type": "image", "data": data}]))


def test_raw_prompts_and_tokens() -> None:
    llama, openai = BY_NAME["llama-server"], BY_NAME["openai"]
    body = bodies.completion(llama, "m", params(raw=True, max_tokens=2))
    assert (body["prompt"], body["max_tokens"]) == ("hi", 2)
    assert bodies.completion(llama, "m", params(prompt=None, prompt_tokens=[1, 2]))["prompt"] == [1, 2]
    with pytest.raises(NotSupported, match="takes no raw prompts"):
        bodies.completion(openai, "m", params(raw=True))
    with pytest.raises(NotSupported, match="takes no prompt_tokens"):
        bodies.completion(BY_NAME["compatible"], "m", params(prompt=None, prompt_tokens=[1]))


def test_three_ways_to_a_middle() -> None:
    other = [{"path": "b.py", "text": "B"}]
    path, body = middles.request(BY_NAME["llama-server"], "m", infill(context=other, path="secret/path.py"), "")
    assert path == "//infill"
    assert (body["input_prefix"], body["input_suffix"]) == ("a = ", "\nb")
    assert body["input_extra"] == [{"filename": "b.py", "text": "B"}]
    assert (body["n_predict"], body["temperature"]) == (128, 0)
    assert "secret" not in str(body)
    path, body = middles.request(BY_NAME["vllm"], "m", infill(max_tokens=7), "")
    assert (path, body["prompt"], body["suffix"], body["max_tokens"]) == ("/completions", "a = ", "\nb", 7)
    path, body = middles.request(BY_NAME["compatible"], "m", infill(context=other), "qwen")
    assert body["prompt"] == "<|fim_prefix|># b.py\nB\n\na = <|fim_suffix|>\nb<|fim_middle|>"
    _, body = middles.request(BY_NAME["compatible"], "m", infill(), "codestral")
    assert body["prompt"] == "[SUFFIX]\nb[PREFIX]a = "
    with pytest.raises(NotSupported, match="set `fim`"):
        middles.request(BY_NAME["compatible"], "m", infill(), "")


def test_each_dialect_that_may_be_named_is_known() -> None:
    assert set(DIALECTS) == set(BY_NAME)


@pytest.mark.parametrize(
    ("owner", "dialect"),
    [("llamacpp", "llama-server"), ("vllm", "vllm"), ("threadrunner", "threadrunner"), ("me", "compatible")],
)
def test_a_dialect_is_told_by_a_models_owner(owner: str, dialect: str) -> None:
    assert of_models([{"id": "m", "owned_by": owner}]).name == dialect
    assert of_models([]).name == "compatible"


@pytest.mark.parametrize("dialect", ["llama-server", "vllm", "compatible"])
def test_confidence_is_a_wish_and_changes_nothing(dialect: str) -> None:
    """The language server asks for it with each suggestion, whichever model gives it."""
    asked = [middles.request(BY_NAME[dialect], "m", infill(confidence=wish), "qwen") for wish in (True, False)]
    assert asked[0] == asked[1]
