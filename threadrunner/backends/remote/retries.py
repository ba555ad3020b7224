"""Whether a request that has failed is tried again, and when. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from threadrunner.api.errors import ApiError, Overloaded

PAUSES: Sequence[float] = (0.5, 1.5)
"""Seconds before the second and the third try; there is no fourth."""
LONGEST = 20.0
"""Seconds that a server may make us wait unseen; a longer wait is for the user to decide."""


def pause(error: ApiError, tries: int, left: float, *, connecting: bool) -> float | None:
    """Seconds to wait before the next try; None: the error stands. Nothing of an answer has come.

    `tries` were made, `left` seconds are left of the request's time. A request is tried again only where the server
    did not begin it: it could not be connected to, or said that it has no room. Nothing is asked twice.
    """
    if tries > len(PAUSES) or not (connecting or isinstance(error, Overloaded)):
        return None
    asked = error.facts.get("retry_after")
    wait = max(PAUSES[tries - 1], asked if isinstance(asked, (int, float)) else 0.0)
    return wait if wait <= min(LONGEST, left) else None
