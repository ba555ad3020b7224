"""Takes clients in, as many as there are file descriptors for; the kernel keeps the others waiting until one leaves."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from threadrunner.system import limits
from threadrunner.system.listening import Door

log = logging.getLogger("threadrunner.daemon")

BACKLOG = 256
RESERVE = 64
"""Descriptors for files, models and the conversations; 70 % of them where there are few."""
TRY_AGAIN = 0.5
"""Seconds; nothing tells that the system has a descriptor, or memory, again."""

STRANGERS = 64
"""Who may be proving themselves at the same time, over the loopback."""

_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Acceptor:
    """Accepts on one socket at a time. Not asyncio's server: that has no way to wait while descriptors are scarce, and
    a request that was taken in then failed at the first file that it needed."""

    def __init__(self, connected: Callable[[], asyncio.Protocol]) -> None:
        self._connected = connected
        self._limit = clients_limit(limits.descriptors())
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._greeted: set[asyncio.Task[None]] = set()

    def listen(self, door: Door) -> None:
        """Accept at this door from now on, and at no other."""
        self.close()
        door.listener.setblocking(False)
        door.listener.listen(BACKLOG)
        self._task = asyncio.create_task(self._accept(door), name="accept")

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

    async def _accept(self, door: Door) -> None:
        loop = asyncio.get_running_loop()
        strangers = asyncio.Semaphore(STRANGERS)
        while True:
            await self._room.wait()
            try:
                connection, _ = await loop.sock_accept(door.listener)
            except OSError as error:
                if error.errno in _SCARCE:
                    log.warning("a client waits: %s", error.strerror)
                    await asyncio.sleep(TRY_AGAIN)
                elif door.listener.fileno() < 0:
                    return
                continue  # a client that has gone before it was taken in
            connection.setblocking(False)
            if door.endpoint is None:
                await self._admit(door, connection)
            else:  # it may take its time to prove itself; others need not wait for that
                await strangers.acquire()
                greeting = asyncio.create_task(self._admit(door, connection))
                self._greeted.add(greeting)
                greeting.add_done_callback(self._greeted.discard)
                greeting.add_done_callback(lambda _: strangers.release())

    async def _admit(self, door: Door, connection: socket.socket) -> None:
        """Take it in, or hang up: before any of its bytes is taken for a message."""
        try:
            stranger = await door.admits(connection)
            if not stranger:
                await asyncio.get_running_loop().connect_accepted_socket(self._connected, connection)
                return
            log.warning("refused %s", stranger)
        except TimeoutError:
            log.warning("refused a program that did not say who it is")
        except (OSError, EOFError):  # it has gone
            pass
        connection.close()


def clients_limit(descriptors: int) -> int:
    """How many clients may be connected where the process may have that many descriptors."""
    if descriptors < 0:  # RLIM_INFINITY
        return 1 << 30
    return max(1, descriptors - min(RESERVE, descriptors * 7 // 10))
