"""A worker's process and the two ends through which it is heard: its messages, and what it writes to standard error."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import socket
import sys
from typing import NamedTuple, Protocol

from threadrunner.api.chat import PieceKind
from threadrunner.worker import messages as m

log = logging.getLogger("threadrunner.daemon.worker")

LAST_WORDS = 20
"""Lines of standard error kept to explain a crash."""
READ = 1 << 16
"""Bytes that are read at a time."""
LINE_LIMIT = 1 << 16
"""Bytes; more of a line is dropped."""


class Receiver(Protocol):
    """What the worker's messages are for."""

    def piece(self, id: int, index: int, json: bytes, kind: PieceKind) -> None:
        """A piece of text, see messages.unpack_piece."""

    def message(self, message: m.FromWorker) -> None:
        """Any other message."""

    def flush(self) -> None:
        """All that has arrived was handed over."""


class MessageStream(asyncio.BufferedProtocol):
    """The worker's messages, each to the receiver as it arrives. Not a StreamReader: that wakes a task for each token,
    which is a second turn of the event loop on a core that the worker computes on. And not a plain Protocol, for which
    asyncio makes a buffer of 256 kB for each read: that was a third of what a token cost here."""

    def __init__(self, receiver: Receiver) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the worker has hung up; raises what made its messages unreadable."""
        self._receiver = receiver
        self._unpacker = m.Unpacker()
        self._buffer = memoryview(bytearray(READ))

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        if self.ended.done():
            return
        try:
            for body in self._unpacker.feed(self._buffer[:count]):
                if body[0] == m.PIECE:
                    self._receiver.piece(*m.unpack_piece(body))
                else:
                    self._receiver.message(m.from_worker.decode(body))
            self._receiver.flush()
        except Exception as error:
            self.ended.set_exception(error)

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class LastWords(asyncio.Protocol):
    """Standard error: each line to our log, and the last ones kept."""

    def __init__(self, pid: int) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lines: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._pid = pid
        self._begun = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        """Listen no longer."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        *lines, begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._line(line)
        self._begun = begun[:LINE_LIMIT]

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._begun:
            self._line(self._begun)
        if not self.ended.done():
            self.ended.set_result(None)

    def _line(self, data: bytes) -> None:
        line = data.decode("utf-8", "replace").rstrip()
        self.lines.append(line)
        level, _, text = line.partition(" ")
        number = logging.getLevelNamesMapping().get(level)
        log.log(number or logging.WARNING, "[%s] %s", self._pid, text if number else line)


class Hands(NamedTuple):
    """All that we hold of a process."""

    process: asyncio.subprocess.Process
    transport: asyncio.Transport
    """For messages to it."""
    link: MessageStream
    words: LastWords

    def close(self) -> None:
        self.transport.close()
        self.words.close()


async def spawn(vitals_fd: int, receiver: Receiver) -> Hands:
    """A process that waits for Load. Raises OSError.

    Standard error is a pipe of ours and not asyncio's, whose `wait` ends only when no process has the pipe open: a
    child that a backend had started kept a dead worker in the list for as long as it lived itself.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        sockets = socket.socketpair()
        ours.enter_context(sockets[0])
        theirs.enter_context(sockets[1])
        read, write = os.pipe()
        reading = ours.enter_context(os.fdopen(read, "rb", buffering=0))
        stderr = theirs.enter_context(os.fdopen(write, "wb"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "threadrunner.worker", str(sockets[1].fileno()), str(vitals_fd),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[sockets[1].fileno(), vitals_fd],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},  # a crash loses no last words
        )  # fmt: skip
        theirs.close()
        transport, link = await loop.create_unix_connection(lambda: MessageStream(receiver), sock=sockets[0])
        _, words = await loop.connect_read_pipe(lambda: LastWords(process.pid), reading)
        ours.pop_all()
    return Hands(process, transport, link, words)
