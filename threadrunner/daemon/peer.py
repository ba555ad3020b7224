"""One client: its bytes in, its requests run as tasks, its answers out as they finish.

Hanging up cancels all its requests, and so does closing only one's own direction: between a client that reads on
and one that is gone there is no difference to see, and a prefill for nobody can take minutes. The only state that
outlives a request here is the connection's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from threadrunner.api.errors import ApiError, InternalError, InvalidRequest, Overloaded, ParseError, RequestCancelled
from threadrunner.daemon.outbox import Outbox, RequestId, notification
from threadrunner.wire import framing, messages

log = logging.getLogger("threadrunner.daemon.peer")

REQUESTS_LIMIT = 256  # under way for one client
BATCH_LIMIT = 64
UNREAD_LIMIT = 256  # messages that wait for a client before we stop reading what it sends


class Call:
    """One request under way, as its handler sees it. `id` is None for a notification: nobody listens."""

    def __init__(self, peer: Peer, id: RequestId, *, legacy: bool = False) -> None:
        self.peer = peer
        self.id = id
        self.stream = True
        self.given: frozenset[str] = frozenset()
        """The params that the client wrote, where a default would hide whether it did."""
        self._legacy = legacy

    def piece(self, index: int, text: str) -> None:
        if self.stream and self.id is not None:
            self.peer.outbox.piece(self.id, index, text, _v1_token if self._legacy else self._token(index))
            self.peer.flush()

    def progress(self, stage: str, done: int, total: int) -> None:
        if self.id is not None and not self._legacy:
            params = {"request": self.id, "stage": stage, "done": done, "total": total}
            self.peer.outbox.progress(self.id, notification("progress", params))
            self.peer.flush()

    def _token(self, index: int) -> Callable[[str], dict[str, Any]]:
        return lambda text: notification("token", {"request": self.id, "index": index, "text": text})


def _v1_token(text: str) -> dict[str, Any]:
    return {"token": text, "eos": False}


Serve = Callable[[Call, dict[str, Any]], Awaitable[dict[str, Any] | None]]
"""Answers one JSON-RPC request object; None for a notification."""

ServeLine = Callable[[Call, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers one v1 line with its last line."""


class Watcher(Protocol):
    """Who is told of clients' lives."""

    def made(self, peer: Peer) -> None: ...

    def quiet(self, peer: Peer) -> None: ...

    def gone(self, peer: Peer) -> None: ...


class Peer(asyncio.Protocol):
    """See the module. Of its life it tells `made` once, `quiet` whenever its last request has ended, `gone` once."""

    def __init__(self, serve: Serve, serve_line: ServeLine, watcher: Watcher) -> None:
        self.outbox = Outbox()
        self.events: set[str] = set()
        self._serve = serve
        self._serve_line = serve_line
        self._watcher = watcher
        self._decoder = framing.Decoder()
        self._tasks: dict[RequestId | object, asyncio.Task[Any]] = {}
        self._batches: set[asyncio.Task[None]] = set()
        self._ending: ApiError | None = None
        self._paused = False
        self._transport: asyncio.Transport

    def __repr__(self) -> str:
        return f"<Peer {self._decoder.framing} {len(self._tasks)} requests {len(self.outbox)} unread>"

    @property
    def busy(self) -> bool:
        return bool(self._tasks or self._batches)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        uid = peer_uid(transport.get_extra_info("socket"))
        if uid != os.getuid():
            log.warning("refused a client of uid %s", uid)
            transport.abort()
            return
        self._watcher.made(self)

    def data_received(self, data: bytes) -> None:
        self._decoder.receive(data)
        try:
            while (frame := self._decoder.next_frame()) is not None:
                self.outbox.framing = self._decoder.framing
                self._receive(frame)
        except framing.FramingError as error:
            self.outbox.framing = self._decoder.framing
            self._refuse(None, ParseError(f"{error}; the connection is closed"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for task in list(self._tasks.values()):
            task.cancel()
        self._watcher.gone(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._transport.resume_reading()
        self.flush()

    # Sending

    def flush(self) -> None:
        """Send what waits, unless the client does not read: then it waits here, joined."""
        if self._transport.is_closing():
            return
        if not self._paused:
            self._transport.write(self.outbox.take())
        elif len(self.outbox) > UNREAD_LIMIT:
            self._transport.pause_reading()

    def send(self, message: Any) -> None:
        self.outbox.message(message)
        self.flush()

    def close(self) -> None:
        """Hang up once what was written has gone out."""
        self._transport.close()

    def cancel(self, reason: ApiError) -> None:
        """End all requests, and those to come; each is answered with `reason`."""
        self._ending = reason
        for task in self._tasks.values():
            _cancel(task)

    # Requests

    def _receive(self, frame: bytes) -> None:
        try:
            message = messages.decode(frame)
        except messages.DecodeError as error:
            self._refuse(None, ParseError(str(error)))
            return
        if isinstance(message, list):
            self._batch(message)
        elif isinstance(message, dict) and "v" in message and "jsonrpc" not in message:
            self._spawn(object(), self._run_line(message))
        elif not self._notice(message):
            self._begin(message)

    def _notice(self, message: Any) -> bool:
        """Deal with `$/cancelRequest`; other notifications go the way of requests."""
        if not isinstance(message, dict) or message.get("method") != "$/cancelRequest" or "id" in message:
            return False
        params = message.get("params")
        id = params.get("id") if isinstance(params, dict) else None
        if isinstance(id, (int, str)) and (task := self._tasks.get(id)):
            _cancel(task)
        return True

    def _begin(self, message: Any) -> None:
        if (key := self._admit(message)) is not None:
            self._spawn(key, self._run_single(message))

    def _admit(self, message: Any) -> RequestId | object | None:
        """The key of the request's task; None where it was refused, which has been said."""
        id = _id(message)
        if id is not None and id in self._tasks:
            self._refuse(id, InvalidRequest(f"a request with the id {id!r} is still under way"))
            return None
        if len(self._tasks) >= REQUESTS_LIMIT:
            limit = REQUESTS_LIMIT
            self._refuse(id, Overloaded(f"one client may have {limit} requests under way", queued=limit, limit=limit))
            return None
        return object() if id is None else id

    def _batch(self, items: list[Any]) -> None:
        if not items or len(items) > BATCH_LIMIT:
            self._refuse(None, InvalidRequest(f"a batch holds 1 to {BATCH_LIMIT} requests, not {len(items)}"))
            return
        waiting: list[asyncio.Task[Any]] = []
        for item in items:
            if not self._notice(item) and (key := self._admit(item)) is not None:
                waiting.append(self._spawn(key, self._run(item)))
        if waiting:  # not among the tasks: what cancels those must not cancel the answer that tells of it
            joined = asyncio.create_task(self._run_batch(waiting))
            self._batches.add(joined)
            joined.add_done_callback(self._ended(lambda: self._batches.discard(joined)))

    def _spawn(self, key: RequestId | object, work: Any) -> asyncio.Task[Any]:
        task = self._tasks[key] = asyncio.create_task(work)
        task.add_done_callback(self._ended(lambda: self._tasks.pop(key, None)))
        return task

    def _ended(self, forget: Callable[[], object]) -> Callable[[object], None]:
        def ended(_: object) -> None:
            forget()
            if not self.busy:
                self._watcher.quiet(self)

        return ended

    async def _run_single(self, message: Any) -> None:
        if (answer := await self._run(message)) is not None:
            self.send(answer)

    async def _run_batch(self, tasks: list[asyncio.Task[Any]]) -> None:
        answers = [answer for answer in await asyncio.gather(*tasks) if answer is not None]
        if answers:
            self.send(answers)

    async def _run(self, message: Any) -> dict[str, Any] | None:
        """The answer to one request; every request gets one, cancelled ones too."""
        id = _id(message)
        try:
            return await self._serve(Call(self, id), message)
        except asyncio.CancelledError:
            return error_message(id, self._reason())
        except Exception as error:
            log.exception("request %r", id)
            return error_message(id, InternalError(f"a defect in the daemon: {error!r}; its log has more"))

    async def _run_line(self, message: dict[str, Any]) -> None:
        try:
            self.send(await self._serve_line(Call(self, f"v1 {id(message)}", legacy=True), message))
        except asyncio.CancelledError:
            reason = self._reason()
            self.send({"error": reason.message, "error_type": reason.kind, "eos": True})

    def _reason(self) -> ApiError:
        return self._ending or RequestCancelled("the request was cancelled")

    def _refuse(self, id: RequestId, error: ApiError) -> None:
        self.send(error_message(id, error))


def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel it once it has begun: a task that is cancelled before its first step never runs, and its request, sent in
    one packet with its own `$/cancelRequest`, would never be answered."""
    asyncio.get_running_loop().call_soon(task.cancel)


def error_message(id: RequestId, error: ApiError) -> dict[str, Any]:
    return messages.error(id, error.code, error.message, error.data)


def _id(message: Any) -> RequestId:
    id = message.get("id") if isinstance(message, dict) else None
    return id if isinstance(id, (int, str)) and not isinstance(id, bool) else None


def peer_uid(sock: socket.socket) -> int:
    """The user id of the process at a Unix socket's other end."""
    if sys.platform == "linux":
        found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", found)[1])
    local_peercred, xucred = 1, "2I"  # macOS: SOL_LOCAL is 0
    return int(struct.unpack(xucred, sock.getsockopt(0, local_peercred, struct.calcsize(xucred)))[1])
