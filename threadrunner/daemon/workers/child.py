"""A child process of ours and its exit code. asyncio's own waits until no process has its pipes open: a child that a
backend had started kept a dead worker in the list for as long as it lived itself. And it cannot be given a process that
was started before asyncio was imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

from threadrunner.system import children, signals


class ChildProcess:
    """Watched from when this is made, in a running event loop."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The exit code; below 0, the signal."""
        fd = children.exit_descriptor(pid)
        if fd is None:
            threading.Thread(target=self._wait, args=[asyncio.get_running_loop()], daemon=True).start()
        else:
            asyncio.get_running_loop().add_reader(fd, self._readable, fd)

    def kill(self) -> None:
        if not self.exited.done():
            signals.kill(self.pid)

    def _readable(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        self._set(children.reap(self.pid))

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = children.reap(self.pid)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._set, code)

    def _set(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)
