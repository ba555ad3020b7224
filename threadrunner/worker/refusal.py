"""What the daemon is told of a request that the backend did not take, or whose answer is too long to be told."""

from __future__ import annotations

import logging

import msgspec

from threadrunner.api.errors import ApiError, InternalError, InvalidParams
from threadrunner.backends.base import Failed, Finished
from threadrunner.worker.messages import FRAME_LIMIT, Done

log = logging.getLogger("threadrunner.worker")

_ENVELOPE = 64
"""Bytes: more than a Done has beside its result."""


def refusal(id: int, error: Exception) -> Failed:
    """What is no ApiError is a defect: in what is made of this request's own texts, so that it ends no other."""
    if not isinstance(error, ApiError):
        log.error("request %d", id, exc_info=error)
        error = InternalError(f"a defect in the worker: {error!r:.300}; the daemon's log has more")
    return Failed(id, error.code, error.message, error.data)


def outcome(finished: Finished) -> Done | Failed:
    """The answer; an error where it has no place in a frame, such as each token's text of a very long one."""
    result = msgspec.json.encode(finished.result)
    if len(result) <= FRAME_LIMIT - _ENVELOPE:
        return Done(finished.id, result)
    return refusal(
        finished.id,
        InvalidParams(f"the answer has {len(result)} bytes, which is too long; ask for less, e.g. in parts"),
    )
