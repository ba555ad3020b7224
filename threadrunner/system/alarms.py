"""A limit of time for a computation that cannot be asked to end."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def computing(seconds: float, error: type[Exception]) -> Iterator[None]:
    """Raise `error` within once so much processor time has been spent; on the main thread only, which alone hears
    signals, and not on Windows, which has no such timer: there a hang ends with its worker (daemon/workers/hang.py)."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def too_long(_number: int, _frame: object) -> None:
        raise error

    before = signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
