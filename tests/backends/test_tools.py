"""Calls and thoughts through the backend: tiny models whose templates have both, and a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded
from threadrunner.api.generation import AppliedTemplate, ApplyTemplateParams, Generated, GenerateParams
from threadrunner.backends.base import Failed, Piece
from threadrunner.engine.tools import harmony

MARKS = dict.fromkeys(("<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>"), tiny.CONTROL)
TEMPLATE = (
    "{% if tools %}tools:{% for t in tools %}{{ t | tojson }}{% endfor %}\n"
    "<tool_call>{}</tool_call>{% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}"
    "<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: "
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% else %}<think>{% endif %}{% endif %}"
)
OPENS_ITSELF = TEMPLATE.replace("{% else %}<think>", "")
CITY = {"type": "object", "properties": {"city": {"enum": ["Bonn", "Rome"]}}, "required": ["city"]}
WEATHER = {"function": {"name": "weather", "description": "the weather", "parameters": CITY}}
ZONE = {"type": "object", "properties": {"zone": {"type": "integer"}}}
TIME = {"function": {"name": "time", "parameters": ZONE}}
ODD = {
    "function": {"name": "odd", "parameters": {"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]}}
}


WILD: dict[str, Any] = {"temperature": 50.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 3, "ignore_eos": True}
"""A tiny model's likeliest token is always the last one again."""


def loaded(folder: Path, template: str) -> Loaded:
    words = {**tiny.bytes_vocabulary(MARKS), "tokenizer.chat_template": template}
    return Loaded(tiny.llama(folder / "tiny.gguf", words), context=tiny.CONTEXT)


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """Its template begins each answer with a thought."""
    with loaded(tmp_path_factory.mktemp("thinker"), TEMPLATE) as found:
        yield found


@pytest.fixture(scope="module")
def opener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """It has to begin a thought itself."""
    with loaded(tmp_path_factory.mktemp("opener"), OPENS_ITSELF) as found:
        yield found


def params(**more: Any) -> GenerateParams:
    return msgspec.convert({"prompt": "Rain?", "max_tokens": 60, "temperature": 0.0, **more}, GenerateParams)


def ask(model: Loaded, say: str = "", **more: Any) -> tuple[Generated, list[Piece]]:
    """The answer, which the streamed pieces must add up to. Of the markers a tiny model, whose choices mean nothing,
    says none by itself but this one, and that as often as it may."""
    bias = {str(token): -100.0 for mark in MARKS if (token := model.vocab.special(mark)) is not None}
    bias |= {str(model.vocab.special(say)): 50.0} if say else {}
    id = model.submit(params(logit_bias=bias, **more))
    ends, events = model.finish(id)
    result = ends[id]
    assert isinstance(result, Generated), result
    pieces = [event for event in events if isinstance(event, Piece) and event.index == 0]
    assert "".join(p.text for p in pieces if p.kind == "text") == result.text
    assert "".join(p.text for p in pieces if p.kind == "reasoning") == (result.reasoning or "")
    for i, call in enumerate(result.tool_calls or []):
        own = [p for p in pieces if p.call is not None and p.call.index == i]
        assert own[0].call is not None
        assert (own[0].call.id, own[0].call.name, own[0].text) == (call.id, call.function.name, "")
        assert "".join(p.text for p in own) == call.function.arguments
    return result, pieces


def test_a_thought_that_the_prompt_opens_is_told_apart(thinker: Loaded) -> None:
    result, _ = ask(thinker)
    assert result.text == ""
    assert result.reasoning
    assert result.usage.reasoning_tokens == 60
    assert result.finish_reason == "length"


def test_a_budget_ends_the_thought_and_the_answer_goes_on(thinker: Loaded) -> None:
    result, _ = ask(thinker, reasoning_budget=7, **WILD)
    assert result.reasoning
    assert result.text
    assert 7 < result.usage.reasoning_tokens <= 7 + len(thinker.backend.loaded.requests.dialect.thought_end())
    everything = f"{result.reasoning}{result.text}"
    assert not any(mark in everything for mark in MARKS)


def test_what_is_asked_of_the_answer_begins_behind_the_thought(thinker: Loaded) -> None:
    schema = {"enum": ["yes", "no"]}
    result, _ = ask(thinker, reasoning_budget=7, json_schema=schema)
    assert json.loads(result.text) in ("yes", "no")
    assert result.reasoning
    result, _ = ask(thinker, reasoning_budget=7, grammar='root ::= "a" | "b"')
    assert result.text in ("a", "b")


def test_no_thought_is_asked_for(thinker: Loaded, opener: Loaded) -> None:
    result, pieces = ask(thinker, reasoning="off")
    assert result.reasoning is msgspec.UNSET
    assert {piece.kind for piece in pieces} == {"text"}
    result, pieces = ask(opener, say="<think>", reasoning="off", max_tokens=12)
    assert result.reasoning is msgspec.UNSET, "it was begun all the same, ended at once and dropped"
    assert result.usage.reasoning_tokens


def test_a_thought_may_be_a_part_of_the_text(thinker: Loaded) -> None:
    result, _ = ask(thinker, reasoning="raw", reasoning_budget=7)
    assert "</think>" in result.text
    assert result.reasoning is msgspec.UNSET
    result, _ = ask(thinker, reasoning="raw", reasoning_budget=7, json_schema={"enum": ["yes"]})
    assert result.text.endswith('"yes"')


def test_a_thought_that_the_model_opens_comes_before_what_is_asked(opener: Loaded) -> None:
    asked = {"json_schema": {"enum": ["yes"]}, "reasoning_budget": 4}
    result, _ = ask(opener, say="<think>", **asked)
    assert result.text == '"yes"'
    assert result.usage.reasoning_tokens
    result, _ = ask(opener, **asked)
    assert (result.text, result.reasoning) == ('"yes"', msgspec.UNSET)


@pytest.mark.parametrize("choice", ["required", {"function": {"name": "weather"}}], ids=["required", "named"])
def test_a_call_that_must_be_made_is_made(thinker: Loaded, opener: Loaded, choice: Any) -> None:
    for model, more in ((thinker, {"reasoning_budget": 5}), (opener, {})):
        result, _ = ask(model, tools=[WEATHER, TIME], tool_choice=choice, max_tokens=200, **more)
        assert isinstance(result.tool_calls, list)
        assert result.text == ""
        whole = result.tool_calls[: len(result.tool_calls) - (result.finish_reason == "length")]
        for call in whole:
            arguments = json.loads(str(call.function.arguments))
            if call.function.name == "weather":
                assert arguments["city"] in ("Bonn", "Rome")
        if choice != "required":
            assert [call.function.name for call in whole] == ["weather"]
            assert result.finish_reason == "tool_calls"


def test_one_call_where_no_more_may_be_made(opener: Loaded) -> None:
    named = {"function": {"name": "weather"}}
    result, _ = ask(opener, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=200)
    assert len(result.tool_calls or ()) == 1
    assert result.finish_reason == "tool_calls"
    result, _ = ask(opener, tools=[WEATHER, TIME], tool_choice=named, json_schema={"enum": ["x"]}, max_tokens=200)
    assert len(result.tool_calls or ()) == 1


def test_a_call_that_begins_is_kept_to_its_tool(opener: Loaded) -> None:
    """`auto`: the marker is said once, and from there on the grammar holds."""
    result, _ = ask(opener, say="<tool_call>", tools=[WEATHER], max_tokens=200, parallel_tool_calls=False)
    assert isinstance(result.tool_calls, list)
    assert json.loads(str(result.tool_calls[0].function.arguments))["city"] in ("Bonn", "Rome")
    assert result.text == ""


def test_tools_that_must_not_be_called_are_not_told(opener: Loaded) -> None:
    plain, _ = ask(opener)
    result, _ = ask(opener, tools=[WEATHER], tool_choice="none")
    assert result.usage.prompt_tokens == plain.usage.prompt_tokens
    assert result.text == plain.text


def test_one_odd_tool_never_ends_the_request(opener: Loaded, caplog: pytest.LogCaptureFixture) -> None:
    result, _ = ask(opener, tools=[ODD, WEATHER], tool_choice={"function": {"name": "odd"}}, max_tokens=300, seed=1)
    assert isinstance(result.tool_calls, list)
    assert result.tool_calls[0].function.name == "odd"
    assert "odd: its arguments are kept to any JSON object" in caplog.text
    id = opener.submit(params(tools=[ODD]))
    assert not isinstance(opener.finish(id)[0][id], Failed)


def test_a_stop_is_about_the_text_alone(thinker: Loaded) -> None:
    whole, _ = ask(thinker, reasoning_budget=7, **WILD)
    assert isinstance(whole.reasoning, str)
    stops = [whole.reasoning[1], whole.text[10:12]]
    stopped, _ = ask(thinker, reasoning_budget=7, stop=stops, **WILD)
    assert stopped.reasoning == whole.reasoning
    assert stopped.text == whole.text[: min(i for stop in stops if (i := whole.text.find(stop)) >= 0)]
    assert stopped.finish_reason == "stop"


def test_logprobs_are_of_the_text_alone(thinker: Loaded) -> None:
    result, _ = ask(thinker, reasoning_budget=7, logprobs=1, **WILD)
    assert isinstance(result.logprobs, list)
    assert "".join(entry.text for entry in result.logprobs) == result.text
    assert len(result.logprobs) < result.usage.completion_tokens - 7


def test_each_candidate_thinks_and_calls_for_itself(thinker: Loaded) -> None:
    must = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 150}
    result, _ = ask(thinker, n=3, reasoning_budget=5, **{**WILD, **must})
    assert isinstance(result.choices, list)
    ids = [call.id for choice in result.choices for call in choice.tool_calls or ()]
    assert len(ids) == len(set(ids)) >= 3
    assert len({choice.reasoning for choice in result.choices}) > 1


def test_a_round_of_calls_is_told_to_a_model_without_tools(smol: Loaded) -> None:
    """SmolLM2's template knows none: they stand in the system text, calls and results in the conversation."""
    call = {"id": "1", "function": {"name": "weather", "arguments": {"city": "Bonn"}}}
    messages = [
        {"role": "user", "content": "Rain in Bonn?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "rain, 12 degrees"},
    ]
    request, _ = smol.backend.loaded.requests.generate(
        1, msgspec.convert({"messages": messages, "tools": [WEATHER]}, GenerateParams)
    )
    prompt = smol.vocab.detokenize(request.prompt)
    assert '{"name": "weather", "description": "the weather", "parameters": ' in prompt
    assert '{"name": "weather", "arguments": {"city": "Bonn"}}' in prompt
    assert "Result of weather: rain, 12 degrees" in prompt


def test_what_a_model_without_tools_is_told_can_be_looked_at(smol: Loaded) -> None:
    asked = {"messages": [{"role": "user", "content": "Rain?"}], "tools": [WEATHER]}
    shown = smol.ask(msgspec.convert(asked, ApplyTemplateParams))
    assert isinstance(shown, AppliedTemplate)
    assert "You can call these tools:" in shown.prompt
    assert "Rain?" in shown.prompt


CHANNEL_MARKS = dict.fromkeys(harmony.HARMONY_MARKS, tiny.CONTROL)
HARMONY = (
    "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}<|start|>{{ m.role }}<|message|>"
    "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{# <|channel|>analysis<|message|> #}{% endif %}"
)


def test_channels_are_told_apart_and_a_call_follows_a_thought(tmp_path: Path) -> None:
    words = {**tiny.bytes_vocabulary(CHANNEL_MARKS), "tokenizer.chat_template": HARMONY}
    with Loaded(tiny.llama(tmp_path / "tiny.gguf", words), context=tiny.CONTEXT) as model:
        must = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 200}
        thoughts = 0
        for seed in range(4):
            result, _ = ask(model, **{**WILD, **must, "seed": seed}, reasoning_budget=3)
            assert isinstance(result.tool_calls, list)
            assert json.loads(str(result.tool_calls[0].function.arguments))["city"] in ("Bonn", "Rome")
            assert result.text == ""
            thoughts += bool(result.reasoning)
        assert thoughts


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_real_model_calls_as_it_must(smol: Loaded, temperature: float) -> None:
    for i, prompt in enumerate(("Weather in Rome?", "Time in zone 3?")):
        asked = {"prompt": prompt, "tools": [WEATHER, TIME], "temperature": temperature, "seed": i, "max_tokens": 60}
        result, _ = ask(smol, **asked, tool_choice="required")
        assert result.finish_reason == "tool_calls"
        assert isinstance(result.tool_calls, list)
        for call in result.tool_calls:
            arguments = json.loads(str(call.function.arguments))
            if call.function.name == "weather":
                assert arguments["city"] in CITY["properties"]["city"]["enum"]  # type: ignore[index]
            else:
                assert isinstance(arguments.get("zone", 0), int)
