"""The v1 line protocol: `{"v":1,"prompt":"…","stream":true}` on the same socket.

Answered by lines `{"token":"…","eos":false}`, last `{"token":null,"eos":true}`; an error is
`{"error":"…","error_type":"…","eos":true}`. A translation of the one into the other: behind it, a line is a request
`generate` like any other.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from threadrunner.api.errors import ApiError, InvalidParams
from threadrunner.api.generation import Generated
from threadrunner.daemon.workers.sink import EncodedPiece
from threadrunner.wire import messages


class Line(msgspec.Struct):
    """A v1 request. Unknown members are ignored, as v1 always did."""

    v: Literal[1]
    prompt: str
    stream: bool = True


def is_line(message: Any) -> bool:
    """Whether a message is v1 and not JSON-RPC."""
    return isinstance(message, dict) and "v" in message and "jsonrpc" not in message


def to_request(message: dict[str, Any]) -> dict[str, Any]:
    """The request that a line means; its id is never seen by a client. Raises InvalidParams."""
    try:
        line = msgspec.convert(message, Line)
    except msgspec.ValidationError as error:
        raise InvalidParams(str(error)) from None
    return messages.request(0, "generate", {"prompt": line.prompt, "stream": line.stream})


class V1Replies:
    """A line's answer as v1 has it; see replies.Replies."""

    def __init__(self, stream: bool) -> None:
        self._stream = stream

    def piece(self, piece: EncodedPiece) -> bytes | None:
        return b'{"token":"%b","eos":false}' % piece.json if piece.kind == "text" else None

    def progress(self, stage: str, done: int, total: int) -> None:
        """v1 tells of no progress."""

    def candidate(self, result: Generated) -> None:
        """Nor does a line ask for several answers."""

    def response(self, response: dict[str, Any]) -> dict[str, Any]:
        if (error := response.get("error")) is not None:
            return {"error": error["message"], "error_type": error["data"]["kind"], "eos": True}
        return {"token": None if self._stream else response["result"].text, "eos": True}

    def error(self, error: ApiError) -> dict[str, Any]:
        return {"error": error.message, "error_type": error.kind, "eos": True}
