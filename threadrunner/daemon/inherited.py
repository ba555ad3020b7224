"""What a daemon has from the process that happened to start it, and must not keep: it outlives that one, and serves
others."""

from __future__ import annotations

import contextlib
import os

from threadrunner.system import limits, signals


def shed(of_a_shell: bool) -> None:
    """Make this process independent of what started it: of closed or scarce descriptors, and of blocked signals.

    `of_a_shell`: by a prompt. Otherwise by a user or a service manager, who set limits and ignored signals
    (`nohup threadrunner daemon &`) on purpose.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # closed ones get a place that nothing of ours then takes
        os.set_inheritable(fd, True)
    os.close(fd)
    _keep_to_ourselves()
    signals.as_if_fresh(of_a_shell)
    limits.raise_descriptors()
    if of_a_shell:
        limits.lift_those_of_a_shell()
    signals.ignore_look()  # until the event loop heeds it: a closed terminal ends no daemon


def _keep_to_ourselves() -> None:
    """Let no worker inherit a descriptor: a pipe's end that it had would not close with ours."""
    with contextlib.suppress(OSError):  # a system without /dev/fd
        for name in os.listdir("/dev/fd"):
            if int(name) > 2:
                with contextlib.suppress(OSError):  # the listing's own
                    os.set_inheritable(int(name), False)
