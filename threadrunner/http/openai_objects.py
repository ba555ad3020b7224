"""Parts of OpenAI's answers that several endpoints have: ids, usage, log-probabilities, and llama-server's timings."""

from __future__ import annotations

import secrets
from typing import Any

from msgspec import UNSET

from threadrunner.api.generation import Choice, Generated, TokenLogprob


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(12)}"


def usage(answer: Generated) -> dict[str, Any]:
    counted = answer.usage
    thought = 0 if counted.reasoning_tokens is UNSET else counted.reasoning_tokens
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def timings(answer: Generated) -> dict[str, Any]:
    """As llama-server has them: counts of tokens, milliseconds, tokens a second."""
    counted, took = answer.usage, answer.timings
    fresh = counted.prompt_tokens - counted.cached_tokens
    return {
        "cache_n": counted.cached_tokens,
        "prompt_n": fresh,
        "prompt_ms": took.prefill_ms,
        "prompt_per_token_ms": took.prefill_ms / fresh if fresh else 0.0,
        "prompt_per_second": 1000 * fresh / took.prefill_ms if took.prefill_ms else 0.0,
        "predicted_n": counted.completion_tokens,
        "predicted_ms": took.decode_ms,
        "predicted_per_token_ms": took.decode_ms / counted.completion_tokens if counted.completion_tokens else 0.0,
        "predicted_per_second": took.tokens_per_second,
    }


def choices(answer: Generated) -> list[Choice]:
    """An answer's choices; one where it has no list of them."""
    if answer.choices is not UNSET:
        return answer.choices
    return [Choice(answer.text, answer.finish_reason, answer.logprobs, answer.tool_calls, answer.reasoning)]


def finish_reason(reason: str) -> str:
    """OpenAI knows no "cancelled"."""
    return "stop" if reason == "cancelled" else reason


def chat_logprobs(tokens: list[TokenLogprob]) -> dict[str, Any]:
    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    listed = [
        one(token.text, token.logprob) | {"top_logprobs": [one(text, logprob) for text, logprob in token.top]}
        for token in tokens
    ]
    return {"content": listed, "refusal": None}
