"""What a daemon has from the shell that happened to start it, and must not keep: it outlives that shell, and serves
others."""

from __future__ import annotations

import contextlib
import os
import resource
import signal

_FILES = 65536
"""File descriptors that are enough: a client has one, a model three."""

_LIMITS = (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_DATA)
_KEEP_IGNORED = {signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)}
"""Python's own choice: a write fails instead."""


def shed(of_a_shell: bool) -> None:
    """Make this process independent of what started it.

    `of_a_shell`: by a prompt. Otherwise by a user or a service manager, who set limits and ignored signals
    (`nohup threadrunner daemon &`) on purpose.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, no worker's exit code could be read
    _raise_limit(resource.RLIMIT_NOFILE, _FILES)
    if os.environ.get("LISTEN_PID") != str(os.getpid()):  # of a service whose child we are
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
    if of_a_shell:
        for number in signal.valid_signals() - _KEEP_IGNORED:
            if signal.getsignal(number) is signal.SIG_IGN:
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_DFL)
        for limit in _LIMITS:
            _raise_limit(limit, resource.RLIM_INFINITY)


def _raise_limit(limit: int, wanted: int) -> None:
    """Raise the soft limit to `wanted`, or as far as the hard one allows."""
    soft, hard = resource.getrlimit(limit)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited:
        return
    new = wanted if hard == unlimited else hard if wanted == unlimited else min(wanted, hard)
    if new == unlimited or new > soft:
        with contextlib.suppress(OSError, ValueError):  # macOS has a limit of its own below RLIM_INFINITY
            resource.setrlimit(limit, (new, hard))
