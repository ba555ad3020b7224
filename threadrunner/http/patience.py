"""Connections that say nothing, send their headers one byte at a time, or leave what they are sent unread, are hung up
on.

uvicorn's own timer runs only between two requests of a connection: one that never sends its first could stay for ever,
and so could one that is to be closed and does not read what is left for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTION = "connection"
"""In a scope's `state`: the PatientProtocol that the request came by."""


class _Gathering:
    """A transport that keeps what is written."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._written.append(data)

    def let_go(self) -> None:
        if self._written:
            self._transport.write(b"".join(self._written))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class PatientProtocol(H11Protocol):
    """One connection."""

    head_seconds: ClassVar[float] = 30.0
    """For a request's head, from its first byte, or from the connection."""
    unread_seconds: ClassVar[float] = 60.0
    """That a client may leave what is sent unread, once the kernel's buffers are full."""
    most: ClassVar[int] = 512
    """Connections; more are closed at once."""

    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: self}
        if len(self.connections) > self.most:
            transport.close()
            return
        self._head_timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] != b""
        if not waits and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        elif waits and self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self.transport.close)

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """What is written within goes out in one piece: a head, say, and the first chunks. Each write wakes the client,
        which takes longer than to make what is written. An answer must not end within."""
        cycle, transport = self.cycle, self.transport
        gathering = _Gathering(transport)
        self.transport = cycle.transport = cast(asyncio.Transport, gathering)
        try:
            yield
        finally:
            self.transport = cycle.transport = transport
            gathering.let_go()

    async def write_chunk(self, body: bytes) -> None:
        """A piece of a body whose head has been sent by h11 without a length, to a client of HTTP/1.1: past ASGI's
        messages and h11, which has nothing to do for it but to write its length."""
        if self.flow.write_paused:
            await self.flow.drain()
        self.write_now(body)

    @property
    def write_paused(self) -> bool:
        """Whether the client has first to read what it was sent."""
        return self.flow.write_paused

    def write_now(self, body: bytes) -> None:
        """The same, whether the client reads or not."""
        if not self.transport.is_closing():
            self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_reading()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._expect_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._forget_reading()
        super().connection_lost(exc)

    def _expect_reading(self) -> None:
        """`close` would wait for the rest to be read."""
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def _forget_reading(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
