"""What a server sends, in whatever shape, as chunks of OpenAI's shape: the one that answers.py reads. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Chunk = dict[str, Any]
Translate = Callable[[Chunk], Chunk | None]


def table(value: Any) -> dict[str, Any]:
    """The value where it is an object; else an empty one: what a server sends may be anything."""
    return value if isinstance(value, dict) else {}


def array(value: Any) -> list[Any]:
    """The same for a list."""
    return value if isinstance(value, list) else []


def count(value: Any) -> int:
    """The same for a number of tokens, or of a place."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0


def number(value: Any) -> float:
    """The same for a number that may have a fraction."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e9 else 0.0


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
