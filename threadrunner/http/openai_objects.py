"""Parts of OpenAI's answers that several endpoints have: ids, usage, log-probabilities, and llama-server's timings."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from threadrunner import __version__
from threadrunner.api.generation import Generated, TokenLogprob

FINGERPRINT = f"threadrunner-{__version__}"


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


def finish_reason(reason: str) -> str:
    """OpenAI knows no "cancelled"."""
    return "stop" if reason == "cancelled" else reason


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    listed = [
        one(token.text, token.logprob) | {"top_logprobs": [one(text, logprob) for text, logprob in token.top]}
        for token in tokens
    ]
    return {"content": listed, "refusal": None}


def text_logprobs(tokens: list[TokenLogprob | None], begin: int) -> dict[str, list[Any]]:
    """As the older completions have them; `begin` is where the first token's text stands. None: a prompt's first."""
    told: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for token in tokens:
        told["tokens"].append("" if token is None else token.text)
        told["token_logprobs"].append(None if token is None else token.logprob)
        told["top_logprobs"].append(None if token is None else dict(token.top))
        told["text_offset"].append(begin)
        begin += 0 if token is None else len(token.text)
    return told
