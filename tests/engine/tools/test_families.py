"""Each family is found by its template, its grammar allows what its reader understands, and nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from llguidance import LLMatcher, LLTokenizer

from tests.engine.tools.samples import PARAMETERS, SAMPLES, TIME, WEATHER, joined, layout, parts
from threadrunner.engine.tools.families import FAMILIES, GENERIC, CallFamily, call_family, thought_tags
from threadrunner.engine.tools.lark import CallGrammar

TEMPLATES = Path(__file__).parent.parent / "prompts" / "templates"
FOUND = {
    "Qwen-Qwen2.5-7B-Instruct": ("hermes", ""),
    "Qwen-Qwen3-0.6B": ("hermes", "<think>"),
    "Qwen3-Coder": ("qwen-coder", ""),
    "Qwen3.5-4B": ("qwen-coder", "<think>"),
    "meta-llama-Llama-3.2-3B-Instruct": ("llama", ""),
    "meta-llama-Llama-3.3-70B-Instruct": ("llama", ""),
    "mistralai-Mistral-Nemo-Instruct-2407": ("mistral-list", ""),
    "Mistral-Small-3.2-24B-Instruct-2506": ("mistral", ""),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("mistral", "[THINK]"),
    "google-gemma-4-31B-it": ("gemma-4", "<|channel>thought\n"),
    "LFM2.5-8B-A1B": ("lfm2", "<think>"),
    "openai-gpt-oss-120b": ("gpt-oss", "<|channel|>analysis<|message|>"),
    "deepseek-ai-DeepSeek-V3.1": ("deepseek", "<think>"),
    "llama-cpp-deepseek-r1": ("deepseek-r1", "<think>"),
    "GLM-4.6": ("glm", "<think>"),
    "MiniMax-M2": ("minimax", "<think>"),
    "ByteDance-Seed-OSS": ("seed", "<seed:think>"),
    "moonshotai-Kimi-K2": ("kimi", ""),
    "ibm-granite-granite-3.3-2B-Instruct": ("granite", "<think>"),
    "ibm-granite-granite-4.0": ("hermes", ""),
    "NVIDIA-Nemotron-Nano-v2": ("nemotron", "<think>"),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": ("command-r", "<|START_THINKING|>"),
    "Apertus-8B-Instruct": ("apertus", "<|inner_prefix|>"),
    "Apriel-1.6-15b-Thinker-fixed": ("apriel", ""),
    "GigaChat3.1-10B-A1.8B": ("gigachat", ""),
    "meetkai-functionary-medium-v3.1": ("functionary", ""),
    "meetkai-functionary-medium-v3.2": ("functionary-2", ""),
    "google-gemma-2-2b-it": ("", ""),
    "microsoft-Phi-3.5-mini-instruct": ("", ""),
}


def no_token(text: str) -> bool:
    return False


@pytest.mark.parametrize("name", FOUND)
def test_a_template_tells_its_family(name: str) -> None:
    template = (TEMPLATES / f"{name}.jinja").read_text()
    family, tags = call_family(template, no_token), thought_tags(template, no_token)
    assert (family.name if family else "", tags.begin if tags else "") == FOUND[name]


def test_a_vocabulary_tells_what_a_template_leaves_out() -> None:
    template = (TEMPLATES / "LFM2-8B-A1B.jinja").read_text()
    assert call_family(template, no_token) is None
    found = call_family(template, lambda text: text == "<|tool_call_start|>")
    assert found is not None
    assert found.name == "lfm2"
    tags = thought_tags(None, lambda text: text in ("<think>", "</think>"))
    assert tags is not None
    assert tags.end == "</think>"


BYTES = LLTokenizer("byte")
CLOSING, LIKELY = b'"}])>< \n', b'"}])>< \nabcdefgh123'


def spoken(family: CallFamily, rng: random.Random, many: bool) -> str | None:
    """A text that the family's grammar allows, by a walk that likes to end; None where it did not in time."""
    grammar = CallGrammar([WEATHER, TIME], {}, many)
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(grammar.text(family.syntax.lark(grammar))))
    assert not matcher.is_error(), matcher.get_error()
    said = bytearray()
    while len(said) < 500 and not matcher.is_stopped():
        if matcher.is_accepting() and rng.random() < 0.7:
            break
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = {int(i) for i in np.flatnonzero(bits) if i < 128}
        liked = CLOSING if rng.random() < 0.4 else LIKELY
        byte = rng.choice(sorted(allowed.intersection(liked) or allowed or {int(np.flatnonzero(bits)[0])}))
        assert matcher.consume_token(byte)
        said.append(byte)
    return said.decode() if matcher.is_accepting() or matcher.is_stopped() else None


@pytest.mark.parametrize("family", (*FAMILIES, GENERIC), ids=lambda family: family.name)
def test_what_a_grammar_allows_is_read_as_calls_that_fit(family: CallFamily) -> None:
    rng, schema, whole = random.Random(18), Draft202012Validator(PARAMETERS), 0
    for i in range(8):
        said = spoken(family, rng, many=i % 2 == 0)
        if said is None:
            continue
        text, _, calls = joined(parts(layout(family.name, thought=None), [said]))
        assert calls, said
        assert text == "", said
        for name, arguments in calls:
            value = json.loads(arguments)
            assert schema.is_valid(value) if name == "weather" else value == {}, said
        whole += 1
    assert whole


CALL = '{"name": "weather", "arguments": {"city": "Bonn"}}'
OWN_FORMS = {
    **{name: text for name, text, answer in reversed(SAMPLES) if answer[2]},
    "hermes": f'<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{{"name": "time", "arguments": {{}}}}\n</tool_call>',
    "lfm2": '<|tool_call_start|>[weather(city="Bonn", days=3, unit="C"), time()]<|tool_call_end|>',
    "mistral": '[TOOL_CALLS]weather[ARGS]{"city": "Bonn"}[TOOL_CALLS]time[ARGS]{}',
    "mistral-list": f"[TOOL_CALLS][{CALL}, {CALL}]",
    "generic": CALL,
}


@pytest.mark.parametrize("family", (*FAMILIES, GENERIC), ids=lambda family: family.name)
def test_a_grammar_allows_what_its_family_was_trained_to_write(family: CallFamily) -> None:
    grammar = CallGrammar([WEATHER, TIME], {}, many=True)
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(grammar.text(family.syntax.lark(grammar))))
    text = OWN_FORMS[family.name]
    begins = [at for mark in (*family.syntax.opens, "{") if (at := text.find(mark)) >= 0]
    call = text[min(begins) :].encode()
    assert call[: matcher.try_consume_tokens([*call])] == call
    assert matcher.is_accepting()
