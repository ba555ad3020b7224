"""A child process of ours and its exit code. asyncio's own waits until no process has its pipes open: a child that a
backend had started kept a dead worker in the list for as long as it lived itself. And it cannot be given a process that
was started before asyncio was imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading


class ChildProcess:
    """Watched from when this is made, in a running event loop."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The exit code; below 0, the signal."""
        self._fd = -1
        try:
            self._fd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # no Linux, or no descriptor is left
            threading.Thread(target=self._wait, args=[asyncio.get_running_loop()], daemon=True).start()
        else:
            asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def kill(self) -> None:
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _readable(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        self._set(_reap(self.pid))

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = _reap(self.pid)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._set, code)

    def _set(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)


def _reap(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # another part of the process has waited for all children
        return 255
