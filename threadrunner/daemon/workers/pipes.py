"""A worker's process and the two ends through which it is heard: its messages, and what it writes to standard error."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import socket
from typing import NamedTuple, Protocol

from threadrunner.api.chat import PieceKind
from threadrunner.daemon.workers.child import ChildProcess
from threadrunner.daemon.workers.direct_loop import add_reader
from threadrunner.daemon.workers.launch import Launched
from threadrunner.system import streams
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


class MessageStream:
    """The worker's messages, each to the receiver as it arrives.

    Read by a direct reader (see direct_loop.py), in which a token takes the shortest way: not a StreamReader, which
    wakes a task for each, nor a Protocol, whose transport makes a buffer of 256 kB for each read. While a model
    computes on all cores every line of this is read from memory, not from a cache.
    """

    def __init__(self, sock: socket.socket, receiver: Receiver) -> None:
        """The socket is non-blocking, and closed by `close`."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the worker has hung up; raises what made its messages unreadable."""
        self._sock = sock
        self._receiver = receiver
        self._unpacker = m.Unpacker()
        self._buffer = bytearray(READ)
        self._remove_reader = add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Listen no longer."""
        if not self.ended.done():
            self.ended.set_result(None)
        if self._sock.fileno() >= 0:
            self._remove_reader()
            self._sock.close()

    def _readable(self) -> None:
        try:
            count = self._sock.recv_into(self._buffer)
            if count == 0:
                self.close()
                return
            receiver = self._receiver
            for body in self._unpacker.feed(self._buffer, count):
                if body[0] == m.PIECE:
                    receiver.piece(*m.unpack_piece(body))
                else:
                    receiver.message(m.from_worker.decode(body))
            receiver.flush()
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionError:
            self.close()
        except Exception as error:
            self.ended.set_exception(error)
            self.close()


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

    child: ChildProcess
    transport: asyncio.Transport
    """For messages to it."""
    link: MessageStream
    words: LastWords

    def close(self) -> None:
        self.transport.close()
        self.link.close()
        self.words.close()


async def take_hold(launched: Launched, receiver: Receiver) -> Hands:
    """Listen to a process; its descriptors, but for that of its page, are closed by `Hands.close`. Raises OSError."""
    loop = asyncio.get_running_loop()
    child = ChildProcess(launched.pid)
    with contextlib.ExitStack() as ours:
        sock = ours.enter_context(socket.socket(fileno=launched.socket))
        reading = ours.enter_context(os.fdopen(launched.stderr, "rb", buffering=0))
        sock.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
        transport.pause_reading()
        link = MessageStream(ours.enter_context(sock.dup()), receiver)
        words = LastWords(launched.pid)
        await streams.read_pipe(words, reading)
        ours.pop_all()
    return Hands(child, transport, link, words)
