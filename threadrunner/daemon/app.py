"""`threadrunner daemon`: everything before and after the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from threadrunner import __version__, config, exits, paths, remote_keys, remote_settings
from threadrunner.daemon import log as daemon_log
from threadrunner.daemon.listener import CannotStart, DaemonSocket
from threadrunner.daemon.live_config import LiveConfig
from threadrunner.daemon.server import DaemonServer
from threadrunner.daemon.workers.direct_loop import DirectLoop
from threadrunner.daemon.workers.launch import AHEAD, Launched
from threadrunner.daemon.workers.spare import Spare

log = logging.getLogger("threadrunner.daemon")

THREADS_WITHIN = 5.0
"""Seconds that threads may take to end once everything else has."""


def run(ready_fd: int | None = None, launched: Launched | None = None) -> int:
    """Serve until stopped; returns the exit code. See begin.py for what comes first.

    `ready_fd` is a pipe's end: it is told `ready` once clients can connect, or else why that will not be. `launched` is
    a worker that expects our own backend.
    """
    tell = _ReadySignal(ready_fd)
    try:
        _serve(tell, launched)
    except (CannotStart, config.ConfigError, paths.PathError, OSError) as error:
        tell(f"{error}\n")
        if sys.stderr is not None:
            print(f"threadrunner: {error}", file=sys.stderr)
        return exits.CONNECTION
    return exits.OK


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


def _serve(tell: Callable[[str], None], launched: Launched | None) -> None:
    options, fault = config.readable()
    remote_keys.take_from_environment(remote_settings.environment_names(options))
    # Made private, but used as they are if they exist: people make one to put a model in. What must be private in any
    # case (logs, KV files, the socket) has its own mode.
    for folder in (paths.home(), paths.models_dir(), paths.cache_dir()):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    with contextlib.closing(DaemonSocket()) as listener:
        file = daemon_log.begin(paths.cache_dir(), options)
        log.info("threadrunner %s, home %s", __version__, paths.home())
        if fault:
            log.error("%s", fault)

        async def serve() -> None:
            server = DaemonServer(
                LiveConfig(options, fault),
                listener,
                paths.models_dir(),
                paths.cache_dir(),
                lambda: str(file.path),
                Spare(launched, AHEAD),
            )
            gc.freeze()  # imports are not garbage: keep them out of every collection, which would stall a token
            await server.run(lambda: tell("ready\n"))

        with asyncio.Runner(loop_factory=DirectLoop) as runner:
            runner.run(_to_the_end(serve()))


async def _to_the_end(serving: Coroutine[Any, Any, None]) -> None:
    """Serve, and then end for sure. Python joins all threads first, and one that waits for a network file system which
    does not answer (a model's file was there) cannot be ended."""
    await serving
    late = threading.Timer(THREADS_WITHIN, os._exit, [exits.OK])
    late.daemon = True
    late.start()
