"""Messages as JSON, whatever is in them: every request is answered, and what cannot be sent costs no other message.

An answer that could not be encoded was once lost together with all that waited beside it: a file's name that was not
UTF-8 was enough, and the client waited for good.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from threadrunner.api.errors import ApiError, InternalError, InvalidParams
from threadrunner.api.names import encodable_value
from threadrunner.wire import messages
from threadrunner.wire.framing import FRAME_LIMIT

log = logging.getLogger("threadrunner.daemon.encoding")

_encode = msgspec.json.Encoder().encode


def encode(message: Any) -> bytes | None:
    """The message's JSON. Names that are not UTF-8 are made printable; an answer that cannot be sent at all is
    replaced by an error; None for any other message that cannot."""
    try:
        body = _body(message)
    except Exception as error:
        if isinstance(message, list):
            return _batch(message)
        log.error("a message cannot be encoded: %r: %.1000r", error, message)
        said = f"a defect in the daemon: the answer cannot be encoded ({error!r}); its log has more"
        return _instead(message, InternalError(said))
    if len(body) <= FRAME_LIMIT:
        return body
    return _batch(message) if isinstance(message, list) else _instead(message, _too_large(len(body)))


def _body(message: Any) -> bytes:
    try:
        return _encode(message)
    except UnicodeEncodeError:
        return _encode(encodable_value(msgspec.to_builtins(message)))


def _batch(answers: list[Any]) -> bytes:
    """Only the answers that cannot be sent, or for which there is no room any more, are replaced."""
    bodies: list[bytes] = []
    size = 2
    for answer in answers:
        body = encode(answer)
        if body is not None and size + len(body) >= FRAME_LIMIT:
            body = _instead(answer, _too_large(size + len(body)))
        if body is not None:
            bodies.append(body)
            size += len(body) + 1
    return b"[" + b",".join(bodies) + b"]"


def _too_large(size: int) -> ApiError:
    """Clients take a longer message for one that is none of ours."""
    return InvalidParams(f"the answer has {size} bytes, the maximum is {FRAME_LIMIT}; ask for less, e.g. in parts")


def _instead(message: Any, error: ApiError) -> bytes | None:
    """What is sent in place of an answer; None for what is no answer."""
    if not isinstance(message, dict) or "method" in message:
        return None
    if "jsonrpc" in message:
        return messages.encode(messages.error(message.get("id"), error.code, error.message, error.data))
    return messages.encode({"error": error.message, "error_type": error.kind, "eos": True})  # see v1.py
