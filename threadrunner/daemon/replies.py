"""How a request's answer is written in the dialect that it was asked in; v1.py has the other one."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from threadrunner.api.errors import ApiError
from threadrunner.api.generation import Choice, Generated
from threadrunner.api.votes import CandidateNotice
from threadrunner.daemon.workers.sink import EncodedPiece
from threadrunner.wire import messages

RequestId = int | str | None


class Replies(Protocol):
    """How one request's answer is written in the dialect that it was asked in."""

    def piece(self, piece: EncodedPiece) -> bytes | None:
        """The JSON of the message that carries a piece; None where the dialect has none for its kind."""

    def progress(self, stage: str, done: int, total: int) -> Any | None:
        """The message that tells how far the request is; None where the dialect has none."""

    def candidate(self, result: Generated) -> Any | None:
        """The message that one of several answers is complete; None where the dialect has none."""

    def response(self, response: dict[str, Any]) -> Any:
        """The last message, from a JSON-RPC response."""

    def error(self, error: ApiError) -> Any:
        """The last message of a request that ends with an error of the connection's own."""


class JsonRpc:
    """Replies to a JSON-RPC request."""

    def __init__(self, id: RequestId) -> None:
        self.id = id
        self._head = b""

    def piece(self, piece: EncodedPiece) -> bytes:
        """The notification `token`, of which only the text is new each time."""
        if not self._head:
            self._head = b'{"jsonrpc":"2.0","method":"token","params":{"request":%b,' % messages.encode(self.id)
        if piece.kind == "text":
            return b'%b"index":%d,"text":"%b"}}' % (self._head, piece.candidate, piece.json)
        body = b'%b"index":%d,"text":"%b"' % (self._head, piece.candidate, piece.json)
        body += b',"kind":"%b"' % piece.kind.encode()
        return body + b"}}" if piece.call is None else b'%b,"call":%b}}' % (body, msgspec.json.encode(piece.call))

    def progress(self, stage: str, done: int, total: int) -> dict[str, Any]:
        params = {"request": self.id, "stage": stage, "done": done, "total": total}
        return messages.notification("progress", params)

    def candidate(self, result: Generated) -> dict[str, Any]:
        choice = (result.choices or [Choice("", "stop")])[0]
        notice = CandidateNotice(
            self.id or 0, choice.index or 0, choice.text, choice.finish_reason, choice.key, choice.tool_calls,
            choice.reasoning,
        )  # fmt: skip
        return messages.notification("candidate", msgspec.to_builtins(notice))

    def response(self, response: dict[str, Any]) -> dict[str, Any]:
        return response

    def error(self, error: ApiError) -> dict[str, Any]:
        return messages.error(self.id, error.code, error.message, error.data)
