"""A connection to the daemon for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, BinaryIO, TypeVar

from threadrunner.system import transport

CONNECT_SECONDS = 10

P = TypeVar("P", bound=asyncio.BaseProtocol)


async def create_connection(factory: Callable[[], P], path: str) -> P:
    """The protocol of a new connection to what serves `path`. Raises OSError, transport.NotOurs."""
    loop = asyncio.get_running_loop()
    if sys.platform != "win32" and not transport.is_loopback():
        return (await loop.create_unix_connection(factory, path))[1]
    greeted = await asyncio.to_thread(transport.connect, path, CONNECT_SECONDS)
    sock = socket.socket(fileno=greeted.detach())
    sock.setblocking(False)
    return (await loop.create_connection(factory, sock=sock))[1]


def run(main: Coroutine[Any, Any, None]) -> None:
    """asyncio.run, in a loop that can wait for sockets one by one: Windows' default one cannot."""
    if sys.platform == "win32":
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main)
    else:
        asyncio.run(main)


async def read_pipe(protocol: asyncio.Protocol, pipe: BinaryIO) -> asyncio.BaseTransport:
    """Have the protocol told what comes out of a pipe; closing the transport closes it."""
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        return (await loop.connect_read_pipe(lambda: protocol, pipe))[0]
    return _ThreadedPipe(loop, protocol, pipe)


class _ThreadedPipe(asyncio.BaseTransport):
    """For a loop that can wait for sockets only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, pipe: BinaryIO) -> None:
        super().__init__()
        self._pipe = pipe
        protocol.connection_made(self)
        threading.Thread(target=self._read, args=[loop.call_soon_threadsafe, protocol], daemon=True).start()

    def _read(self, tell: Callable[..., object], protocol: asyncio.Protocol) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            with contextlib.suppress(OSError, ValueError):  # closed by us
                while data := self._pipe.read(1 << 12):
                    tell(protocol.data_received, data)
            tell(protocol.connection_lost, None)

    def close(self) -> None:
        self._pipe.close()
