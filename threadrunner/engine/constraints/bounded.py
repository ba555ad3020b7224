"""A limit on computing, for what may take for ever: a regular expression whose text and pattern others have written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TooLong(Exception):
    """The time is up."""


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raises TooLong within, once that much was computed: Python's matcher listens to signals as it works. On the main
    thread only, which alone hears them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def too_long(_number: int, _frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
