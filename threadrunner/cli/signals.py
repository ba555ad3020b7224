"""How the process is ended from outside: Ctrl-C, SIGTERM, a timeout.

Each ends it at once, which hangs up on the daemon and so cancels what it does for us. There is no exception to
unwind, so no traceback at any moment and no second Ctrl-C to handle.
"""

from __future__ import annotations

import os
import signal

from threadrunner import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_cleanups: list[Callable[[], None]] = []

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def install() -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a script's & leave them
            signal.signal(number, _on_signal)


def before_end(*actions: Callable[[], None]) -> None:
    """Have `actions` clean the screen first; replaces those given before."""
    _cleanups[:] = actions


def after(seconds: float, message: str) -> None:
    """End the process with exit code TIMEOUT after this time, whatever it waits for."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        _clean_up()
        try:  # noqa: SIM105 - contextlib is one more import for every prompt
            os.write(2, f"threadrunner: {message}; `threadrunner doctor` looks into it\n".encode())
        except OSError:
            pass
        os._exit(exits.TIMEOUT)

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _on_signal(number: int, frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    _clean_up()
    os._exit(128 + number)


def _clean_up() -> None:
    for action in _cleanups:
        try:  # noqa: SIM105 - contextlib is one more import for every prompt
            action()
        except OSError:
            pass
