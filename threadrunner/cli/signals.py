"""How the process is ended from outside: Ctrl-C, SIGTERM, a timeout.

Each ends it at once, which hangs up on the daemon and so cancels what it does for us. There is no exception to
unwind, so no traceback at any moment and no second Ctrl-C to handle.
"""

from __future__ import annotations

import os
import time

from threadrunner import exits
from threadrunner.system import this_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from threadrunner.api.errors import ApiError

else:
    import _signal as signal  # its Python part makes enums of the numbers, 2 ms of every prompt

_began = time.monotonic()
_cleanups: list[Callable[[], None]] = []
_reporters: list[Callable[[ApiError, int], None]] = []
_waiting: list[Callable[[], None]] = []  # an end that came during `whole`
_whole = False


def install() -> None:
    for number in this_process.ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a script's & leave them
            signal.signal(number, _on_signal)
    this_process.unblock()


def age() -> float:
    """Seconds since the process was started."""
    return time.monotonic() - _began


def before_end(*actions: Callable[[], None]) -> None:
    """Have `actions` clean the screen first; replaces those given before."""
    _cleanups[:] = actions


def report_to(*reporters: Callable[[ApiError, int], None]) -> None:
    """Have `reporters` told of the error that ends the process, with its exit code: --json promises one."""
    _reporters[:] = reporters


def report(error: ApiError, code: int) -> None:
    for reporter in _reporters:
        reporter(error, code)


def whole(action: Callable[[], None]) -> None:
    """`action`, which must not wait for anything, to its end: a signal meanwhile ends the process after it."""
    global _whole
    _whole = True
    try:
        action()
    finally:
        _whole = False
        for end in _waiting:
            end()


def after(seconds: float, message: str) -> None:
    """End the process with exit code TIMEOUT that long after its start, whatever it waits for; `message` says why.

    Replaces the time and the message given before.
    """
    this_process.alarm(seconds - age(), lambda: _end(exits.TIMEOUT, "Timeout", message))


def _on_signal(number: int, _frame: FrameType | None) -> None:
    for other in this_process.ENDING:
        signal.signal(other, signal.SIG_IGN)
    from signal import Signals

    _end(128 + number, "RequestCancelled", f"ended by {Signals(number).name}", aloud=False)


def _end(code: int, kind: str, message: str, aloud: bool = True) -> None:
    if _whole:
        _waiting.append(lambda: _end(code, kind, message, aloud))
        return
    for action in _cleanups:
        _try(action)
    if _reporters:
        from threadrunner.api import errors

        made: ApiError = getattr(errors, kind)(message)
        _try(report, made, code)
    if aloud:
        _try(os.write, 2, f"threadrunner: {message}\n".encode())
    os._exit(code)


def _try(action: Callable[..., object], *arguments: Any) -> None:
    try:  # noqa: SIM105 - contextlib is one more import for every prompt
        action(*arguments)
    except OSError:
        pass
