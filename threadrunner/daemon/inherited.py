"""What a daemon has from the process that happened to start it, and must not keep: it outlives that one, and serves
others."""

from __future__ import annotations

import contextlib
import os
import resource
import signal

DESCRIPTORS = 1 << 16
"""File descriptors that are enough: a client takes one, a model three. macOS gives a process 256 unless it asks."""

_LIMITS = (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_DATA)
_KEEP_IGNORED = {signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)}
"""Python's own choice: a write fails instead."""


def shed(of_a_shell: bool) -> None:
    """Make this process independent of what started it: of closed or scarce descriptors, and of blocked signals.

    `of_a_shell`: by a prompt. Otherwise by a user or a service manager, who set limits and ignored signals
    (`nohup threadrunner daemon &`) on purpose.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # closed ones get a place that nothing of ours then takes
        os.set_inheritable(fd, True)
    os.close(fd)
    _keep_to_ourselves()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, no worker's exit code could be read
    _raise_limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
    if of_a_shell:
        for number in signal.valid_signals() - _KEEP_IGNORED:
            if signal.getsignal(number) is signal.SIG_IGN:
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_DFL)
        for limit in _LIMITS:
            _raise_limit(limit, resource.RLIM_INFINITY)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the event loop heeds it: a closed terminal ends no daemon


def _keep_to_ourselves() -> None:
    """Let no worker inherit a descriptor: a pipe's end that it had would not close with ours."""
    with contextlib.suppress(OSError):  # a system without /dev/fd
        for name in os.listdir("/dev/fd"):
            if int(name) > 2:
                with contextlib.suppress(OSError):  # the listing's own
                    os.set_inheritable(int(name), False)


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
