"""How the process ends from outside: Ctrl-C, SIGTERM, its time is up.

Each ends it on the spot, which hangs up on the daemon and so cancels what it does for us. There is no exception to
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

_last_words: list[Callable[[], None]] = []


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def install() -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a script's & leave them: keep it so
            signal.signal(number, _on_signal)


def before_end(*actions: Callable[[], None]) -> None:
    """What tidies up the screen first; replaces what was given before."""
    _last_words[:] = actions


def after(seconds: float, message: str) -> None:
    """Ends the process with exit code TIMEOUT after so long, whatever it waits for."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        _tidy()
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
    _tidy()
    os._exit(128 + number)


def _tidy() -> None:
    for action in _last_words:
        try:  # noqa: SIM105 - contextlib is one more import for every prompt
            action()
        except OSError:
            pass
