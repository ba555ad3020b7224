"""One client: its bytes in, its requests run as tasks, its answers out as they finish.

Hanging up cancels all its requests, and so does closing only the client's own direction: a client that still reads
and one that is gone look the same from here, and a prefill that no client waits for can take minutes. The only state
that outlives a request here is the connection's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Protocol

from threadrunner.api.errors import (
    ApiError,
    InternalError,
    InvalidParams,
    InvalidRequest,
    Overloaded,
    ParseError,
    RequestCancelled,
)
from threadrunner.api.generation import Generated
from threadrunner.daemon import v1
from threadrunner.daemon.methods.context import Outlet
from threadrunner.daemon.outbox import Outbox
from threadrunner.daemon.replies import JsonRpc, Replies, RequestId
from threadrunner.daemon.workers.sink import EncodedPiece, SilentSink
from threadrunner.wire import framing, messages

log = logging.getLogger("threadrunner.daemon.peer")

REQUESTS_LIMIT = 256  # open at the same time for one client
BATCH_LIMIT = 64
UNREAD_SECONDS = 30.0  # for one that leaves too much unread, until what it was sent before is forgotten too


class _Outlet:
    """One request's way back to its client; see methods.context.Outlet."""

    def __init__(self, peer: Peer, key: Hashable, replies: Replies) -> None:
        self._peer = peer
        self._key = key
        self._replies = replies
        self.flush = peer.flush

    def piece(self, piece: EncodedPiece) -> None:
        self._peer.outbox.piece(self._key, piece, self._replies)

    def progress(self, stage: str, done: int, total: int) -> None:
        if (message := self._replies.progress(stage, done, total)) is not None:
            self._peer.outbox.progress(self._key, message)
            self._peer.flush()

    def candidate(self, result: Generated) -> None:
        if (message := self._replies.candidate(result)) is not None:
            self._peer.send(message)

    def subscribe(self, events: frozenset[str]) -> None:
        self._peer.events = events

    def on_choice(self, choose: Callable[[int | None], None]) -> None:
        self._peer.choices[self._key] = choose

    def choose(self, request: int | str, candidate: int | None) -> None:
        self._peer.choose(request, candidate)


class _Notified(SilentSink):
    """For a notification: JSON-RPC forbids to answer it."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def subscribe(self, events: frozenset[str]) -> None:
        self._peer.events = events

    def on_choice(self, choose: Callable[[int | None], None]) -> None:
        """It has no id by which a choice could name it."""
        choose(None)

    def choose(self, request: int | str, candidate: int | None) -> None:
        self._peer.choose(request, candidate)


Dispatch = Callable[[Outlet, Any], Awaitable[dict[str, Any] | None]]
"""Answers one JSON-RPC request object; None for a notification."""


class Watcher(Protocol):
    """What a peer tells of its life."""

    def made(self, peer: Peer) -> None:
        """Once, first."""

    def quiet(self, peer: Peer) -> None:
        """Whenever its last request has ended."""

    def gone(self, peer: Peer) -> None:
        """Once, last."""


class Peer(asyncio.Protocol):
    """See the module."""

    def __init__(self, dispatch: Dispatch, watcher: Watcher) -> None:
        self.outbox = Outbox()
        self.outbox.joining = False
        self.events: frozenset[str] = frozenset()
        """Those that this connection has subscribed to."""
        self.choices: dict[Hashable, Callable[[int | None], None]] = {}
        """Of the requests whose answer the client chooses."""
        self._dispatch = dispatch
        self._watcher = watcher
        self._decoder = framing.Decoder()
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}
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

    def connection_lost(self, _exc: Exception | None) -> None:
        for task in list(self._tasks.values()):
            task.cancel()
        self._watcher.gone(self)

    def pause_writing(self) -> None:
        self._paused = self.outbox.joining = True

    def resume_writing(self) -> None:
        self._paused = self.outbox.joining = False
        self._transport.resume_reading()
        self.flush()

    # Sending

    def flush(self) -> None:
        """Send what waits, unless the client does not read: then it waits here, joined."""
        if self._transport.is_closing():
            self.outbox.clear()
        elif not self._paused:
            if self.outbox:
                self._transport.write(self.outbox.take())
        elif (error := self.outbox.too_much(self._transport.get_write_buffer_size())) is not None:
            self._give_up(error)
        elif self.outbox.full:
            self._transport.pause_reading()

    def _give_up(self, error: ApiError) -> None:
        """The client reads nothing of what it asks for: end its requests and hang up. If it reads after all, why is the
        last thing that it finds."""
        log.warning("%r is hung up on: %s", self, error)
        self.outbox.clear()
        self.outbox.message(JsonRpc(None).error(error))
        self._transport.write(self.outbox.take())
        self.close()
        for task in self._tasks.values():
            _cancel(task)
        asyncio.get_running_loop().call_later(UNREAD_SECONDS, self._transport.abort)

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

    def choose(self, request: int | str, candidate: int | None) -> None:
        """Raises InvalidParams."""
        if request not in self.choices:
            raise InvalidParams(f"no request {request!r} of this connection waits for a choice")
        self.choices[request](candidate)

    # Requests

    def _receive(self, frame: bytes) -> None:
        try:
            message = messages.decode(frame)
        except messages.DecodeError as error:
            self._refuse(None, ParseError(str(error)))
            return
        if isinstance(message, list):
            self._batch(message)
        elif v1.is_line(message):
            self._begin_line(message)
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
            self._spawn(key, self._run_single(key, message, JsonRpc(_id(message))))

    def _begin_line(self, message: dict[str, Any]) -> None:
        replies = v1.V1Replies(bool(message.get("stream", True)))
        try:
            request = v1.to_request(message)
        except ApiError as error:
            self.send(replies.error(error))
        else:
            key = object()
            self._spawn(key, self._run_single(key, request, replies))

    def _admit(self, message: Any) -> Hashable | None:
        """The key of the request's task; None where the request was refused, and the client told so."""
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
        waiting = [
            self._spawn(key, self._run(key, item, JsonRpc(_id(item))))
            for item in items
            if not self._notice(item) and (key := self._admit(item)) is not None
        ]
        if waiting:  # not among the tasks: what cancels those must not cancel the answer that tells of it
            joined = asyncio.create_task(self._run_batch(waiting))
            self._batches.add(joined)
            joined.add_done_callback(self._ended(lambda: self._batches.discard(joined)))

    def _spawn(self, key: Hashable, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._tasks[key] = asyncio.create_task(work)
        task.add_done_callback(self._ended(lambda: self._forget(key)))
        return task

    def _forget(self, key: Hashable) -> None:
        self._tasks.pop(key, None)
        self.choices.pop(key, None)

    def _ended(self, forget: Callable[[], object]) -> Callable[[object], None]:
        def ended(_: object) -> None:
            forget()
            if not self.busy:
                self._watcher.quiet(self)

        return ended

    async def _run_single(self, key: Hashable, message: Any, replies: Replies) -> None:
        if (answer := await self._run(key, message, replies)) is not None:
            self.send(answer)

    async def _run_batch(self, tasks: list[asyncio.Task[Any]]) -> None:
        answers = [answer for answer in await asyncio.gather(*tasks) if answer is not None]
        if answers:
            self.send(answers)

    async def _run(self, key: Hashable, message: Any, replies: Replies) -> Any | None:
        """The answer to one request; every request gets one, cancelled ones too. None for a notification."""
        outlet = _Outlet(self, key, replies) if _expects_answer(message) else _Notified(self)
        try:
            response = await self._dispatch(outlet, message)
            return None if response is None else replies.response(response)
        except asyncio.CancelledError:
            return replies.error(self._reason())
        except Exception as error:
            log.exception("request %r", key)
            return replies.error(InternalError(f"a defect in the daemon: {error!r}; its log has more"))

    def _reason(self) -> ApiError:
        return self._ending or RequestCancelled("the request was cancelled")

    def _refuse(self, id: RequestId, error: ApiError) -> None:
        self.send(JsonRpc(id).error(error))


def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel it once it has begun: a task that is cancelled before its first step never runs, and its request, sent in
    one packet with its own `$/cancelRequest`, would never be answered."""
    asyncio.get_running_loop().call_soon(task.cancel)


def _id(message: Any) -> RequestId:
    id = message.get("id") if isinstance(message, dict) else None
    return id if isinstance(id, (int, str)) and not isinstance(id, bool) else None


def _expects_answer(message: Any) -> bool:
    return _id(message) is not None
