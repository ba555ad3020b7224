"""Anthropic's answers: a message of blocks, whole or as events."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from threadrunner.api.chat import ToolCall
from threadrunner.api.generation import Generated
from threadrunner.http import failures
from threadrunner.http.exchange import AnswerPiece, Order, Progressed
from threadrunner.http.failures import HttpFailure
from threadrunner.http.names import without_path
from threadrunner.http.openai_objects import new_id
from threadrunner.http.streams import SSE, named

SIGNATURE = "dGhyZWFkcnVubmVy"
"""Of every thought. The service signs thoughts; clients keep those without a signature out of the next request."""

_BYTES_A_TOKEN = 4
"""About, in English."""


def message(order: Order, answer: Generated) -> dict[str, Any]:
    """The whole answer."""
    blocks: list[dict[str, Any]] = []
    if answer.reasoning is not UNSET and answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": SIGNATURE})
    if answer.text:
        blocks.append(_text(answer.text))
    blocks += [_block(call) for call in _calls(answer)]
    return {
        **_head(order, answer.model),
        "content": blocks or [_text("")],
        "container": None,
        **_reason(answer),
        "usage": usage(answer),
        **_session(answer),
    }


def _head(order: Order, model: str = "default") -> dict[str, Any]:
    return {"id": new_id("msg_"), "type": "message", "role": "assistant", "model": order.model or without_path(model)}


def _calls(answer: Generated) -> list[ToolCall]:
    return [] if answer.tool_calls is UNSET else answer.tool_calls


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": None}


def _block(call: ToolCall) -> dict[str, Any]:
    """A call whose arguments were cut short is shown as text: no program should carry out half of it."""
    given = arguments(call)
    if given is None:
        return _text(f"{call.function.name}({call.function.arguments}")
    return _tool_use(call.id, call.function.name, given)


def _tool_use(id: str | None, name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": given, "caller": {"type": "direct"}}


def arguments(call: ToolCall) -> dict[str, Any] | None:
    """A call's arguments as an object; None where they are none."""
    given: Any = call.function.arguments
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given or "{}")
        except msgspec.DecodeError:
            return None
    return given if isinstance(given, dict) else None


def _reason(answer: Generated) -> dict[str, Any]:
    """Members that are null are there too: strict readers ask for them."""
    reason = {"length": "max_tokens", "tool_calls": "tool_use"}.get(answer.finish_reason, "end_turn")
    said = None if answer.stop is UNSET or reason != "end_turn" else answer.stop
    if said is not None:
        reason = "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": said, "stop_details": None}


def usage(answer: Generated) -> dict[str, Any]:
    """`input_tokens` are those that were not in the cache."""
    counted = answer.usage
    thought = 0 if counted.reasoning_tokens is UNSET else counted.reasoning_tokens
    fresh = counted.prompt_tokens - counted.cached_tokens
    return _usage(fresh, counted.cached_tokens, counted.completion_tokens, thought)


def _usage(fresh: int, cached: int = 0, said: int = 0, thought: int = 0) -> dict[str, Any]:
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"thinking_tokens": thought},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
    }


def _session(answer: Generated) -> dict[str, Any]:
    return {} if answer.session is None else {"threadrunner": {"session": answer.session}}


class MessageWriter:
    """Events. A block is opened by its first piece and closed by the next block's, or by the end."""

    media_type = SSE
    silence = named("ping", {"type": "ping"})
    tells_progress = False

    def __init__(self, order: Order, body_size: int, request_id: str) -> None:
        """`body_size`: bytes of the request, from which its tokens are guessed until they are known."""
        self._order = order
        self._prompt_tokens = max(1, body_size // _BYTES_A_TOKEN)
        self._request_id = request_id
        self._begun = False
        self._blocks = 0
        self._open: tuple[str, int] | None = None

    def begin(self) -> bytes:
        """Nothing yet: the message's beginning has the prompt's count, which the first chunk of the prompt tells."""
        return b""

    def progress(self, progress: Progressed) -> bytes:
        if progress.stage != "prefill":
            return self.silence
        self._prompt_tokens = progress.total
        return self._start() + self.silence

    def piece(self, piece: AnswerPiece) -> bytes:
        number = piece.call.number if piece.call else 0
        body = self._start()
        if self._open != (piece.kind, number):
            if not piece.text and piece.kind != "call":
                return body
            body += self._close() + self._start_block((piece.kind, number), _opening(piece))
        return body + self._delta(piece) if piece.text else body

    def end(self, answer: Generated) -> bytes:
        body = self._start()
        if not self._blocks:
            body += self._start_block(("text", 0), _text(""))
        body += self._close()
        last = {"type": "message_delta", "delta": _reason(answer), "usage": usage(answer), **_session(answer)}
        return body + named("message_delta", last) + named("message_stop", {"type": "message_stop"})

    def failed(self, failure: HttpFailure) -> bytes:
        return named("error", failures.anthropic_error(failure, self._request_id))

    def _start(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        told = {
            **_head(self._order),
            "content": [],
            "container": None,
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": _usage(self._prompt_tokens),
        }
        return named("message_start", {"type": "message_start", "message": told})

    def _start_block(self, key: tuple[str, int], block: dict[str, Any]) -> bytes:
        self._open = key
        self._blocks += 1
        told = {"type": "content_block_start", "index": self._blocks - 1, "content_block": block}
        return named("content_block_start", told)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        signed = self._named_delta("signature_delta", "signature", SIGNATURE) if self._open[0] == "reasoning" else b""
        self._open = None
        return signed + named("content_block_stop", {"type": "content_block_stop", "index": self._blocks - 1})

    def _delta(self, piece: AnswerPiece) -> bytes:
        match piece.kind:
            case "reasoning":
                return self._named_delta("thinking_delta", "thinking", piece.text)
            case "call":
                return self._named_delta("input_json_delta", "partial_json", piece.text)
        return self._named_delta("text_delta", "text", piece.text)

    def _named_delta(self, kind: str, member: str, text: str) -> bytes:
        told = {"type": "content_block_delta", "index": self._blocks - 1, "delta": {"type": kind, member: text}}
        return named("content_block_delta", told)


def _opening(piece: AnswerPiece) -> dict[str, Any]:
    if piece.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    if piece.kind == "call" and piece.call is not None:
        return _tool_use(piece.call.id, piece.call.name, {})
    return _text("")
