"""JSON-RPC 2.0 messages: what one frame says, and the messages we write, as dicts; `encode` is for the very edge.
Sans-IO, no method names.

Reading is strict (RFC 8259, bounded depth), so that everything behind it may trust its input: any text that
`decode` returns can be encoded again as UTF-8.
"""

from __future__ import annotations

from threadrunner.wire import json_text

TYPE_CHECKING = False  # not typing's, which costs the shell 3 ms of every prompt; checkers know the bare name too
if TYPE_CHECKING:
    from typing import Any

DEPTH_LIMIT = 64


class DecodeError(ValueError):
    """The frame is not a JSON text that we accept; the message says what is wrong with it."""


def decode(frame: bytes, depth_limit: int = DEPTH_LIMIT) -> Any:
    """The value of one JSON text. Raises ParseError: bad UTF-8, bad JSON, NaN, lone surrogates, too deep."""
    try:
        text = frame.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(f"not UTF-8 at byte {error.start}") from None
    try:
        value = json_text.read(text)
    except RecursionError:
        raise DecodeError(f"nested deeper than {depth_limit}") from None
    except ValueError as error:
        raise DecodeError(f"not JSON: {error}") from None
    # Counting brackets costs microseconds and clears nearly every real message; walking costs milliseconds.
    if frame.count(b"[") + frame.count(b"{") > depth_limit and _deeper(value, depth_limit):
        raise DecodeError(f"nested deeper than {depth_limit}")
    if (b"\\ud" in frame or b"\\uD" in frame) and not _encodable(value):
        raise DecodeError("half of a surrogate pair: not a character")
    return value


def _deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return any(isinstance(item, (dict, list)) for item in level)


def _encodable(value: Any) -> bool:
    try:
        json_text.write(value).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def encode(message: Any) -> bytes:
    """One JSON text, compact, on one line."""
    return json_text.write(message).encode("utf-8")


def request(id: int | str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def notification(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def error(id: int | str | None, code: int, message: str, data: Any = None) -> dict[str, Any]:
    body: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return {"jsonrpc": "2.0", "id": id, "error": body}
