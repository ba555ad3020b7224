"""What the daemon is told of a request that the backend did not take."""

from __future__ import annotations

import logging

from threadrunner.api.errors import ApiError, InternalError
from threadrunner.backends.base import Failed

log = logging.getLogger("threadrunner.worker")


def refusal(id: int, error: Exception) -> Failed:
    """What is no ApiError is a defect: in what is made of this request's own texts, so that it ends no other."""
    if not isinstance(error, ApiError):
        log.error("request %d", id, exc_info=error)
        error = InternalError(f"a defect in the worker: {error!r:.300}; the daemon's log has more")
    return Failed(id, error.code, error.message, error.data)
