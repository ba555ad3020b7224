"""Messages as JSON, whatever is in them: every request is answered, and what cannot be sent costs no other message.

An answer that could not be encoded was once lost together with all that waited beside it: a file's name that was not
UTF-8 was enough, and the client waited for good.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from threadrunner.api.errors import InternalError
from threadrunner.api.names import encodable_value
from threadrunner.wire import messages

log = logging.getLogger("threadrunner.daemon.encoding")

_encode = msgspec.json.Encoder().encode


def encode(message: Any) -> bytes | None:
    """The message's JSON. Names that are not UTF-8 are made printable; an answer that cannot be sent at all is
    replaced by InternalError; None for any other message that cannot."""
    try:
        return _encode(message)
    except UnicodeEncodeError:
        try:
            return _encode(encodable_value(msgspec.to_builtins(message)))
        except Exception as error:
            return _replaced(message, error)
    except Exception as error:
        return _replaced(message, error)


def _replaced(message: Any, reason: Exception) -> bytes | None:
    if isinstance(message, list):  # a batch: only the answers that cannot be sent are replaced
        return b"[" + b",".join(text for part in message if (text := encode(part)) is not None) + b"]"
    log.error("a message cannot be encoded: %r: %.1000r", reason, message)
    error = InternalError(f"a defect in the daemon: the answer cannot be encoded ({reason!r}); its log has more")
    if not isinstance(message, dict) or "method" in message:
        return None
    if "jsonrpc" in message:
        return messages.encode(messages.error(message.get("id"), error.code, error.message, error.data))
    return messages.encode({"error": error.message, "error_type": error.kind, "eos": True})  # see v1.py
