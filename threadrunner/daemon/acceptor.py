"""Takes clients in, as many as there are file descriptors for; the kernel keeps the others waiting until one leaves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
from collections.abc import Callable

log = logging.getLogger("threadrunner.daemon")

BACKLOG = 256
RESERVE = 64
"""Descriptors for files, models and the conversations; 70 % of them where there are few."""
TRY_AGAIN = 0.5
"""Seconds; nothing tells that the system has a descriptor, or memory, again."""

_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Acceptor:
    """Accepts on one socket at a time. Not asyncio's server: that has no way to wait while descriptors are scarce, and
    a request that was taken in then failed at the first file that it needed."""

    def __init__(self, connected: Callable[[], asyncio.Protocol]) -> None:
        self._connected = connected
        self._limit = clients_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None

    def listen(self, sock: socket.socket) -> None:
        """Accept on this socket from now on, and on no other."""
        self.close()
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._task = asyncio.create_task(self._accept(sock), name="accept")

    def clients(self, count: int) -> None:
        """That many are connected now."""
        if count < self._limit:
            self._room.set()
        elif self._room.is_set():
            self._room.clear()
            log.warning("%d clients are connected, others wait: there are no more file descriptors (ulimit -n)", count)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.wait()
            try:
                connection, _ = await loop.sock_accept(sock)
            except OSError as error:
                if error.errno in _SCARCE:
                    log.warning("a client waits: %s", error.strerror)
                    await asyncio.sleep(TRY_AGAIN)
                elif sock.fileno() < 0:
                    return
                continue  # a client that has gone before it was taken in
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(self._connected, connection)


def clients_limit(descriptors: int) -> int:
    """How many clients may be connected where the process may have that many descriptors."""
    if descriptors < 0:  # RLIM_INFINITY
        return 1 << 30
    return max(1, descriptors - min(RESERVE, descriptors * 7 // 10))
