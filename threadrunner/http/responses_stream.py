"""A Responses answer as events: each with its number, its place among the items, and the item's id.

Items come one after the other: a piece of another kind than the last ends the one that is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from threadrunner.api.generation import Generated, TokenLogprob
from threadrunner.http import openai_objects, responses_objects, streams
from threadrunner.http.exchange import AnswerPiece, Progressed
from threadrunner.http.failures import HttpFailure
from threadrunner.http.joining import choices
from threadrunner.http.responses_objects import ResponseState, call_item, message_item, reasoning_item, text_part
from threadrunner.http.streams import SSE

_PREFIXES = {"reasoning": "rs_", "text": "msg_", "call": "fc_"}


@dataclass
class _Item:
    """The one that is open."""

    kind: str
    id: str
    number: int = 0
    """Of the call, in the answer."""
    call_id: str = ""
    name: str = ""
    text: str = ""


class ResponsesWriter:
    """Events of one response. There is no `[DONE]`: the last event says how it went."""

    media_type = SSE
    silence = b":\n\n"
    tells_progress = False

    def __init__(self, state: ResponseState) -> None:
        self._state = state
        self._number = 0
        self._item: _Item | None = None

    def begin(self) -> bytes:
        now = self._state.now("in_progress")
        return self._event("response.created", response=now) + self._event("response.in_progress", response=now)

    def piece(self, piece: AnswerPiece) -> bytes:
        body = b""
        if (item := self._item) is None or not _belongs(item, piece):
            body = self._close() + self._open(piece)
            item = self._item
        assert item is not None
        if not piece.text:
            return body
        item.text += piece.text
        match item.kind:
            case "reasoning":
                return body + self._in_part("response.reasoning_text.delta", item, delta=piece.text)
            case "call":
                return body + self._in_item("response.function_call_arguments.delta", item, delta=piece.text)
        return body + self._in_part("response.output_text.delta", item, delta=piece.text, logprobs=[])

    def progress(self, _progress: Progressed) -> bytes:
        return self.silence

    def end(self, answer: Generated) -> bytes:
        status = responses_objects.status_of(answer)
        body = b""
        if self._item is None and not self._state.output:
            body = self._open(AnswerPiece(0, ""))
        (choice,) = choices(answer)[:1]
        logprobs = [] if choice.logprobs is UNSET else choice.logprobs
        body += self._close(status, logprobs)
        return body + self._event(f"response.{status}", response=self._state.now(status, answer))

    def failed(self, failure: HttpFailure) -> bytes:
        body = self._close("incomplete")
        return body + self._event("response.failed", response=self._state.now("failed", failure=failure))

    # items

    def _open(self, piece: AnswerPiece) -> bytes:
        item = _Item(piece.kind, openai_objects.new_id(_PREFIXES[piece.kind]))
        if piece.call is not None:
            item.number, item.call_id, item.name = piece.call.number, piece.call.id or item.id, piece.call.name or ""
        self._item = item
        body = self._event("response.output_item.added", output_index=self._index, item=self._shown(item, None))
        if item.kind != "call":
            body += self._in_part("response.content_part.added", item, part=_part(item, []))
        return body

    def _close(self, status: str = "completed", logprobs: Sequence[TokenLogprob] = ()) -> bytes:
        item = self._item
        if item is None:
            return b""
        match item.kind:
            case "reasoning":
                body = self._in_part("response.reasoning_text.done", item, text=item.text)
            case "call":
                body = self._in_item("response.function_call_arguments.done", item, name=item.name, arguments=item.text)
            case _:
                told = text_part("", logprobs)["logprobs"]
                body = self._in_part("response.output_text.done", item, text=item.text, logprobs=told)
        if item.kind != "call":
            body += self._in_part("response.content_part.done", item, part=_part(item, logprobs))
        whole = self._shown(item, status, logprobs)
        body += self._event("response.output_item.done", output_index=self._index, item=whole)
        self._state.output.append(whole)
        self._item = None
        return body

    @property
    def _index(self) -> int:
        """The open item's place."""
        return len(self._state.output)

    def _shown(self, item: _Item, status: str | None, logprobs: Sequence[TokenLogprob] = ()) -> dict[str, Any]:
        """`status` None: it has just begun."""
        state = status or "in_progress"
        match item.kind:
            case "reasoning":
                return reasoning_item(item.id, item.text, self._state.seals, state)
            case "call":
                return call_item(item.id, item.call_id, item.name, item.text, state)
        return message_item(item.id, item.text if status else None, state, logprobs)

    # events

    def _in_part(self, kind: str, item: _Item, **members: Any) -> bytes:
        return self._in_item(kind, item, content_index=0, **members)

    def _in_item(self, kind: str, item: _Item, **members: Any) -> bytes:
        return self._event(kind, item_id=item.id, output_index=self._index, **members)

    def _event(self, kind: str, **members: Any) -> bytes:
        number = self._number
        self._number += 1
        return streams.named(kind, {"type": kind, "sequence_number": number, **members})


def _belongs(item: _Item, piece: AnswerPiece) -> bool:
    return item.kind == piece.kind and (piece.call is None or piece.call.number == item.number)


def _part(item: _Item, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    if item.kind == "reasoning":
        return {"type": "reasoning_text", "text": item.text}
    return text_part(item.text, logprobs)
