"""This process and its user. Each prompt imports this: the standard library's lightest parts only."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import threading
    from collections.abc import Callable
else:
    import _signal as signal  # its Python part makes enums of the numbers, 2 ms of every prompt

NAME: str = sys.platform
"""`linux`, `darwin` or `win32`; a checker takes it for any text, so that what is only said is checked for all three."""

SOCKET_PATH_MAX = 107 if sys.platform == "linux" else 103
"""sizeof(sockaddr_un.sun_path), less the closing NUL: the kernel cuts or refuses anything longer."""

if sys.platform == "win32":
    ENDING: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
    """The signals by which a user, or the system, has a process end."""
else:
    ENDING: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    """The signals by which a user, or the system, has a process end."""

_alarms: list[threading.Timer] = []


def alarm(seconds: float, action: Callable[[], None]) -> None:
    """Have `action` called that long from now, whatever the process waits for; replaces what was set before."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, lambda _number, _frame: action())
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))  # 0 would mean never
        return
    import threading

    for timer in _alarms:
        timer.cancel()
    _alarms[:] = [threading.Timer(max(seconds, 0), action)]
    _alarms[0].daemon = True
    _alarms[0].start()


def unblock() -> None:
    """Let them through: what the parent had blocked is blocked here too, and then neither Ctrl-C nor a time limit would
    end us."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ENDING, signal.SIGALRM))


def uid() -> int:
    """The number of our user. 0 on Windows, where users have none and `st_uid` is 0 for every file: what keeps others
    out there are the access lists of the user's own folders."""
    if sys.platform == "win32":
        return 0
    return os.getuid()


def for_others(mode: int) -> int:
    """The bits of a file's mode that let others in. Windows has none: it makes up a mode from other things."""
    return 0 if sys.platform == "win32" else mode & 0o077


def clock_ticks() -> int:
    """How many of the ticks that /proc counts are a second."""
    if sys.platform == "win32":
        return 100
    return os.sysconf("SC_CLK_TCK")


def load() -> float:
    """How many processes of all users want to compute, as an average of the last minute; 0 where that is not told."""
    if sys.platform == "win32":
        return 0.0
    return os.getloadavg()[0]


def default_home(name: str = sys.platform) -> str:
    """Where our folder is unless it is named, on the system of that name; `~` is the user's folder.

    On Windows under %LOCALAPPDATA%, which is for this user on this machine alone; never in the roaming half of the
    profile, which a domain copies from machine to machine.
    """
    if name == "win32":
        return (os.environ.get("LOCALAPPDATA") or "~\\AppData\\Local") + "\\threadrunner"
    return "~/.threadrunner"


def on_linux() -> bool:
    """For what is there only with programs of others that need it."""
    return sys.platform == "linux"
