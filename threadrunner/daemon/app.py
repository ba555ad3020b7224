"""`threadrunner daemon`: everything before and after the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable

from threadrunner import __version__, config, exits, paths
from threadrunner.daemon import log as daemon_log
from threadrunner.daemon.listener import CannotStart, DaemonSocket
from threadrunner.daemon.live_config import LiveConfig
from threadrunner.daemon.server import DaemonServer

log = logging.getLogger("threadrunner.daemon")

DESCRIPTORS = 1 << 16
"""At most this many are made possible; macOS gives a process 256 unless it asks."""


def run(ready_fd: int | None = None) -> int:
    """Serve until stopped; returns the exit code.

    `ready_fd` is a pipe's end: it is told `ready` once clients can connect, or else why that will not be.
    """
    _settle()
    tell = _ReadySignal(ready_fd)
    try:
        _serve(tell)
    except (CannotStart, config.ConfigError, paths.PathError, OSError) as error:
        tell(f"{error}\n")
        if sys.stderr is not None:
            print(f"threadrunner: {error}", file=sys.stderr)
        return exits.CONNECTION
    return exits.OK


def _settle() -> None:
    """Be independent of how we were started: without a terminal, with descriptors closed or scarce, or with signals
    blocked or ignored by a parent that never took care of them."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # closed ones get a place that nothing of ours then takes
        os.set_inheritable(fd, True)
    os.close(fd)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would hide how workers end
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the event loop heeds it: a closed terminal ends no daemon
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS sets a maximum of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _ReadySignal:
    """Writes one text to the process that started us, at most once."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def __call__(self, text: str) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._fd, text.encode("utf-8", "backslashreplace"))
                os.close(self._fd)
            self._fd = None


def _serve(tell: Callable[[str], None]) -> None:
    options, fault = config.readable()
    # Made private, but used as they are if they exist: people make one to put a model in. What must be private in any
    # case (logs, KV files, the socket) has its own mode.
    for folder in (paths.home(), paths.models_dir(), paths.cache_dir()):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    with contextlib.closing(DaemonSocket()) as listener:
        file = daemon_log.begin(paths.cache_dir(), options)
        log.info("threadrunner %s, home %s", __version__, paths.home())
        if fault:
            log.error("%s", fault)
        server = DaemonServer(
            LiveConfig(options, fault), listener, paths.models_dir(), paths.cache_dir(), lambda: str(file.path)
        )
        gc.freeze()  # imports are not garbage: keep them out of every collection, which would stall a token
        asyncio.run(server.run(lambda: tell("ready\n")))
