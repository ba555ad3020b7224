"""A limit on computing, for what may take for ever: a regular expression whose text and pattern others have written."""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadrunner.system import alarms


class TooLong(Exception):
    """The time is up."""


def bounded(seconds: float) -> AbstractContextManager[None]:
    """Raises TooLong within, once that much was computed: Python's matcher listens to signals as it works. On the main
    thread only, which alone hears them."""
    return alarms.computing(seconds, TooLong)
