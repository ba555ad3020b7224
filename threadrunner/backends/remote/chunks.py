"""What a server sends, in whatever shape, as chunks of OpenAI's shape: the one that answers.py reads. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Chunk = dict[str, Any]
Translate = Callable[[Chunk], Chunk | None]


def as_it_is(event: Chunk) -> Chunk | None:
    return event


def of_infill(event: Chunk) -> Chunk | None:
    """llama-server's own shape: `content` and `stop`."""
    if "content" not in event:
        return event
    reason = None
    if event.get("stop") is True:
        reason = "length" if event.get("stop_type") == "limit" else "stop"
    return {
        "choices": [{"index": event.get("index", 0), "delta": {"content": event["content"]}, "finish_reason": reason}],
        **{name: event[name] for name in ("timings", "error") if name in event},
    }


def progress(event: Chunk) -> tuple[int, int] | None:
    """How far a prefill is, in tokens, where the server tells that."""
    told = event.get("prompt_progress")
    if not isinstance(told, dict):
        return None
    done, total = told.get("processed"), told.get("total")
    return (done, total) if isinstance(done, int) and isinstance(total, int) and 0 <= done <= total else None
