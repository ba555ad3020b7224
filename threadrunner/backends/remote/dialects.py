"""What servers speak, as data: one row each. Everything is OpenAI's chat completions with more or fewer words, but
Anthropic's, which has its own reader and writer (anthropic.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class RemoteDialect:
    """One row. What a request gives and a row has no word for is refused, never left out."""

    name: str
    fields: Mapping[str, str]
    """Our params, or parts of one as `xtc.threshold` -> their name, sent as they are."""
    limit: str = "max_tokens"
    default_limit: int = 0
    """What is sent where the request sets no limit; 0: nothing is."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Sent with every chat."""
    many: bool = True
    """Whether it gives several answers to one prompt; else it is asked several times."""
    logprobs: bool = True
    schema: Literal["response_format", "tool"] = "response_format"
    strict: bool = False
    """Whether a schema must be marked as one that has to hold."""
    grammar: Literal["", "grammar", "structured_outputs"] = ""
    template_vars: bool = False
    """Whether `chat_template_kwargs` reach a template."""
    effort: bool = True
    """Whether `reasoning_effort` is a word of its own."""
    budget: str = ""
    """Its word for tokens of thought."""
    raw_reasoning: bool = False
    """Whether thoughts can stay in the text."""
    completions: Literal["", "text", "tokens"] = "text"
    """What `/completions` continues: nothing, a text, or tokens too."""
    infill: Literal["", "infill", "suffix"] = ""
    """How it completes a middle by itself."""
    embeds: bool = True
    affinity: bool = True
    """Whether a header may tell a balancer which requests are of one talk."""


_OPENAI = {
    name: name
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "logit_bias")
}
_THREADRUNNER = _OPENAI | {
    "top_k": "top_k",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "top_n_sigma": "top_n_sigma",
    "repeat_penalty": "repeat_penalty",
    "penalty_window": "repeat_last_n",
    "ignore_eos": "ignore_eos",
}
_LLAMA_SERVER = _THREADRUNNER | {
    "dynamic_temperature.range": "dynatemp_range",
    "dynamic_temperature.exponent": "dynatemp_exponent",
    "xtc.probability": "xtc_probability",
    "xtc.threshold": "xtc_threshold",
    "mirostat.version": "mirostat",
    "mirostat.tau": "mirostat_tau",
    "mirostat.eta": "mirostat_eta",
    "dry.multiplier": "dry_multiplier",
    "dry.base": "dry_base",
    "dry.allowed_length": "dry_allowed_length",
    "dry.window": "dry_penalty_last_n",
    "dry.breakers": "dry_sequence_breakers",
}
_VLLM = _OPENAI | {
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "min_tokens": "min_tokens",
    "ignore_eos": "ignore_eos",
}
_USAGE = {"stream_options": {"include_usage": True}}

COMPATIBLE = RemoteDialect("compatible", _OPENAI, constants=_USAGE)
"""Of a server that does not say what it is: the words that all of them know."""

BY_NAME = {
    row.name: row
    for row in (
        COMPATIBLE,
        # Its reasoning models know `max_completion_tokens` alone; `store`: it keeps answers otherwise.
        RemoteDialect(
            "openai", _OPENAI, limit="max_completion_tokens", constants=_USAGE | {"store": False}, strict=True,
            completions="", affinity=False,
        ),
        RemoteDialect(
            "llama-server", _LLAMA_SERVER, constants=_USAGE | {"return_progress": True}, grammar="grammar",
            template_vars=True, effort=False, budget="thinking_budget_tokens", raw_reasoning=True,
            completions="tokens", infill="infill",
        ),
        RemoteDialect(
            "threadrunner", _THREADRUNNER, constants=_USAGE | {"return_progress": True}, grammar="grammar",
            template_vars=True, budget="thinking_budget_tokens", raw_reasoning=True, infill="infill",
        ),
        RemoteDialect(
            "vllm", _VLLM, constants=_USAGE, grammar="structured_outputs", template_vars=True, completions="tokens",
            infill="suffix",
        ),
        RemoteDialect(
            "anthropic",
            {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "stop": "stop_sequences"},
            default_limit=4096, many=False, logprobs=False, schema="tool", effort=False, budget="budget_tokens",
            completions="", embeds=False, affinity=False,
        ),
    )
}  # fmt: skip

_BY_OWNER = {"llamacpp": "llama-server", "vllm": "vllm", "threadrunner": "threadrunner"}
_BY_HOST = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}


def of_host(host: str) -> RemoteDialect | None:
    """Of the two services that are known by their names; None for any other host."""
    name = _BY_HOST.get(host)
    return BY_NAME[name] if name else None


def of_models(listed: list[dict[str, Any]]) -> RemoteDialect:
    """By what a server says of its models' owner."""
    names = (_BY_OWNER.get(str(model.get("owned_by", ""))) for model in listed)
    return next((BY_NAME[name] for name in names if name), COMPATIBLE)
