"""Whatever a server sends, it is an answer or an error of ours, and never a defect."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from threadrunner.api.errors import ApiError
from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.backends.base import Failed, RemoteServer
from threadrunner.backends.remote import asked, chunks
from threadrunner.backends.remote.answers import RemoteAnswer
from threadrunner.backends.remote.anthropic import MessageEvents
from threadrunner.backends.remote.events import EventReader
from threadrunner.backends.remote.failures import ServerErrors
from threadrunner.worker.messages import pack

WORDS = (
    "choices", "delta", "message", "content", "text", "tool_calls", "index", "id", "function", "name", "arguments",
    "logprobs", "top_logprobs", "tokens", "token_logprobs", "token", "logprob", "finish_reason", "usage", "timings",
    "prompt_tokens", "prompt_tokens_details", "completion_tokens_details", "cache_n", "prompt_n", "reasoning",
    "reasoning_content", "error", "code", "type", "n_ctx", "n_prompt_tokens", "prompt_progress", "processed", "total",
    "stop", "stop_type", "content_block", "partial_json", "stop_reason", "input_tokens", "data", "embedding",
    "owned_by",
    "meta", "max_model_len", "thinking", "input_json_delta", "tool_use", "content_block_delta", "message_delta",
    "message_start", "content_block_start", "text_delta",
)  # fmt: skip
NUMBERS = st.integers() | st.floats(allow_nan=False)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | st.sampled_from(WORDS)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
# A beginning of the right shape, so that what is inside is reached too.
CHOICES = st.lists(st.dictionaries(st.sampled_from(WORDS), ANYTHING, max_size=4) | ANYTHING, max_size=2)
OBJECTS = st.dictionaries(st.sampled_from(WORDS), ANYTHING, max_size=5) | CHOICES.map(lambda found: {"choices": found})
DELTAS = st.dictionaries(st.sampled_from(WORDS), ANYTHING, max_size=3).map(
    lambda delta: {"choices": [{"delta": delta, "finish_reason": "stop"}]}
)


@settings(max_examples=300, deadline=None)
@given(st.lists(OBJECTS | DELTAS, max_size=4), st.integers(1, 2), st.booleans())
def test_answers(events: list[dict[str, Any]], n: int, logprobs: bool) -> None:
    for translate in (chunks.as_it_is, chunks.of_infill, MessageEvents(has_schema=False).chunk):
        answer = RemoteAnswer(1, GenerateParams(prompt="x", n=n, logprobs=1 if logprobs else None))
        with contextlib.suppress(ApiError):
            for event in events:
                chunk = translate(event)
                if chunk is not None:
                    chunks.progress(chunk)
                    for piece in answer.feed(chunk):
                        pack(piece)
            answer.late()
            # As the daemon reads it, which would be a defect where it could not.
            msgspec.json.decode(msgspec.json.encode(answer.result("m", "")), type=Generated)


@settings(max_examples=200, deadline=None)
@given(OBJECTS, st.integers(300, 599), st.text(max_size=8))
def test_failures_and_lists(value: dict[str, Any], status: int, wait: str) -> None:
    errors = ServerErrors(RemoteServer(name="box", url="u", key="k" * 9), "box")
    for body in (value, {"error": value}, {"error": [value]}):
        made = errors.of_status(status, {"retry-after": wait}, json.dumps(body).encode())
        pack(Failed(1, made.code, made.message, made.data))
    made = errors.in_band(value)
    pack(Failed(1, made.code, made.message, made.data))
    asked.listed({"data": [value]})
    asked.listed(value)
    with contextlib.suppress(ApiError):
        asked.vectors({"data": [value]}, 1, "box")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_bytes(data: bytes) -> None:
    reader = EventReader("box")
    with contextlib.suppress(ApiError):
        reader.feed(b"data: " + data + b"\n\n" + data)
        reader.end()
