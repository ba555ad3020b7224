"""Signals to and from other processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable

if sys.platform == "win32":
    LOOK: int | None = None
    """Tells a daemon to look at its files now; None where there is no signal to spare."""
    _STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
else:
    LOOK: int | None = signal.SIGHUP
    """Tells a daemon to look at its files now; None where there is no signal to spare."""
    _STOPPING = (signal.SIGINT, signal.SIGTERM)


def on_stop(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    """Have `action` called in the loop when the process is told to end."""
    for number in _STOPPING:
        _on(loop, number, action)


def on_look(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    """Have `action` called in the loop at LOOK."""
    if LOOK is not None:
        _on(loop, LOOK, action)


def _on(loop: asyncio.AbstractEventLoop, number: int, action: Callable[[], None]) -> None:
    if sys.platform == "win32":  # its loops take none; a handler of Python's runs between two of the loop's waits
        signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(action))
    else:
        loop.add_signal_handler(number, action)


def ignore_look(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """From now on; `loop` is one that listened to it."""
    if LOOK is not None:
        if loop is not None:
            loop.remove_signal_handler(LOOK)
        signal.signal(LOOK, signal.SIG_IGN)


def look(pid: int) -> None:
    """Tell a daemon. Does nothing where it has gone."""
    if LOOK is not None:
        with contextlib.suppress(OSError):
            os.kill(pid, LOOK)


def as_if_fresh(of_a_shell: bool) -> None:
    """Undo what the process that started us had blocked, and ignored: `nohup` in a shell is meant for its command, not
    for a daemon that its prompt happened to start."""
    if sys.platform == "win32":
        return
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, no worker's exit code could be read
    if of_a_shell:
        for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # Python's own: a write fails instead
            if signal.getsignal(number) is signal.SIG_IGN:
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_DFL)


def leave_to_the_daemon() -> None:
    """A worker's: the terminal's Ctrl-C and its end are for the daemon, which decides what ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore_look()


def kill(pid: int) -> None:
    """End a process that may not be able to listen. Does nothing where it has gone."""
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)  # TerminateProcess, which asks nothing of the process
        else:
            os.kill(pid, signal.SIGKILL)
