"""Several answers as one: their choices one after the other, what they cost added up. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from threadrunner.api.generation import Choice, Generated, Timings, TokenLogprob, Usage


def joined(answers: Sequence[Generated]) -> Generated:
    """One answer with all choices; of a single one, that."""
    first = answers[0]
    if len(answers) == 1:
        return first
    every = [choice for answer in answers for choice in choices(answer)]
    scored = [token for answer in answers for token in answer.prompt_logprobs or ()]
    return msgspec.structs.replace(
        first, choices=every, usage=_usage(answers), timings=_timings(answers), prompt_logprobs=scored or UNSET
    )


def prompt_logprobs(answer: Generated) -> list[list[TokenLogprob | None]]:
    """Of each prompt: they stand one after the other, and each begins with the null of its first token."""
    prompts: list[list[TokenLogprob | None]] = []
    for token in answer.prompt_logprobs or ():
        if token is None:
            prompts.append([])
        prompts[-1].append(token)
    return prompts


def choices(answer: Generated) -> list[Choice]:
    """An answer's choices; one where it has no list of them."""
    if answer.choices is not UNSET:
        return answer.choices
    return [Choice(answer.text, answer.finish_reason, answer.logprobs, answer.tool_calls, answer.reasoning)]


def _usage(answers: Sequence[Generated]) -> Usage:
    counted = [answer.usage for answer in answers]
    thought = sum(usage.reasoning_tokens or 0 for usage in counted)
    return Usage(
        sum(usage.prompt_tokens for usage in counted),
        sum(usage.cached_tokens for usage in counted),
        sum(usage.completion_tokens for usage in counted),
        thought or UNSET,
    )


def _timings(answers: Sequence[Generated]) -> Timings:
    """The times add up, as those of one request after the other would; the rate is of all tokens."""
    took = [answer.timings for answer in answers]
    tokens, decode_ms = sum(answer.usage.completion_tokens for answer in answers), sum(time.decode_ms for time in took)
    return Timings(
        queue_ms=max(time.queue_ms for time in took),
        load_ms=max(time.load_ms for time in took),
        prefill_ms=sum(time.prefill_ms for time in took),
        ttft_ms=min(time.ttft_ms for time in took),
        decode_ms=decode_ms,
        tokens_per_second=1000 * tokens / decode_ms if decode_ms else 0.0,
    )
