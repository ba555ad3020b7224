"""Ollama's answers: lines of JSON, times in nanoseconds, a call's arguments as an object."""

from __future__ import annotations

import datetime
import time
from typing import Any

import msgspec
from msgspec import UNSET

from threadrunner.api.chat import ToolCall
from threadrunner.api.generation import Generated
from threadrunner.http.anthropic_objects import arguments
from threadrunner.http.exchange import AnswerPiece, Order, Progressed
from threadrunner.http.failures import HttpFailure
from threadrunner.http.openai_objects import finish_reason
from threadrunner.http.streams import NDJSON


def timestamp(at: float | None = None) -> str:
    """Unix time, or now, as Go writes it."""
    moment = datetime.datetime.fromtimestamp(time.time() if at is None else at, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Lines:
    """An answer's lines, or all of it as one. `chat`: what is said is in a message, else in `response`."""

    media_type = NDJSON
    tells_progress = False

    def __init__(self, order: Order, *, chat: bool) -> None:
        self._model = order.model
        self._chat = chat
        self._began = time.monotonic_ns()
        # Clients decode every line: one that says nothing is an empty piece.
        self.silence = self._line({"content": ""})

    def begin(self) -> bytes:
        return b""

    def piece(self, piece: AnswerPiece) -> bytes:
        """Calls come in one piece, at the end."""
        if piece.kind == "call" or not piece.text:
            return b""
        return self._line({"content": ""} | {"thinking" if piece.kind == "reasoning" else "content": piece.text})

    def progress(self, progress: Progressed) -> bytes:  # noqa: ARG002 - Ollama has no words for it
        return self.silence

    def end(self, answer: Generated) -> bytes:
        called = _calls(answer)
        return (self._line(called) if called else b"") + self._line({"content": ""}, self._last(answer))

    def failed(self, failure: HttpFailure) -> bytes:
        return msgspec.json.encode({"error": failure.message}) + b"\n"

    def whole(self, answer: Generated) -> dict[str, Any]:
        said = {"content": answer.text}
        if answer.reasoning is not UNSET and answer.reasoning:
            said["thinking"] = answer.reasoning
        called = _calls(answer)
        said |= {**called, "content": said["content"] + called["content"]} if called else {}
        return self._object(said, self._last(answer))

    def loaded(self, reason: str) -> dict[str, Any]:
        """The answer to an empty prompt, which loads or unloads."""
        return self._object({"content": ""}, {"done": True, "done_reason": reason})

    def _line(self, said: dict[str, Any], more: dict[str, Any] | None = None) -> bytes:
        return msgspec.json.encode(self._object(said, more or {"done": False})) + b"\n"

    def _object(self, said: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        head = {"model": self._model, "created_at": timestamp()}
        if self._chat:
            return {**head, "message": {"role": "assistant", **said}, **more}
        spoken = {"response" if name == "content" else name: value for name, value in said.items()}
        return {**head, **spoken, **more}

    def _last(self, answer: Generated) -> dict[str, Any]:
        took = answer.timings
        reason = finish_reason(answer.finish_reason)
        last = {
            "done": True,
            "done_reason": "stop" if reason == "tool_calls" else reason,
            "total_duration": time.monotonic_ns() - self._began,
            "load_duration": round(took.load_ms * 1e6),
            "prompt_eval_count": answer.usage.prompt_tokens,
            "prompt_eval_duration": round(took.prefill_ms * 1e6),
            "eval_count": answer.usage.completion_tokens,
            "eval_duration": round(took.decode_ms * 1e6),
        }
        return last if answer.session is None else {**last, "threadrunner": {"session": answer.session}}


def _calls(answer: Generated) -> dict[str, Any]:
    """Members of a message; arguments that were cut short are shown as text, since no program should act on half."""
    calls: list[ToolCall] = [] if answer.tool_calls is UNSET else answer.tool_calls
    made: list[dict[str, Any]] = []
    text = ""
    for call in calls:
        if (given := arguments(call)) is None:
            text += f"{call.function.name}({call.function.arguments}"
            continue
        function = {"index": len(made), "name": call.function.name, "arguments": given}
        made.append({"id": call.id, "function": function})
    if not calls:
        return {}
    return {"content": text, "tool_calls": made} if made else {"content": text}
