"""Limits, and what is said while nothing comes: in one process, with times of milliseconds; none of these sleeps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.support import PATIENCE
from threadrunner.api.errors import ApiError, Overloaded
from threadrunner.http import reading, sockets
from threadrunner.http.dialects.chat import ChatWriter
from threadrunner.http.exchange import Exchanges, Order
from threadrunner.http.failures import HttpFailure
from threadrunner.http.gate import Gate
from threadrunner.http.patience import PatientProtocol
from threadrunner.http.policy import Policy
from threadrunner.http.reading import Fields
from threadrunner.http.streams import Stream
from threadrunner.http.traffic import Traffic

ORDER = Order("generate", {}, "default")
ANSWER = {
    "text": "hi", "finish_reason": "stop", "model": "m", "usage": {}, "timings": {},
}  # fmt: skip
Notice = Callable[[str, dict[str, Any]], None]


def run(what: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(what, PATIENCE))


class Scripted:
    """A daemon that answers as a function says."""

    def __init__(self, answers: Callable[[Notice], Awaitable[Any]]) -> None:
        self.answers = answers
        self.cancelled = asyncio.Event()

    async def request(self, method: str, params: dict[str, Any], notice: Any = None) -> Any:
        try:
            return await self.answers(notice)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class Client:
    """What an application is given by a server; `sent` has all that it sent."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)
        self.sent: list[Message] = []
        self.more = asyncio.Event()
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        if self.bodies:
            body = self.bodies.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self.bodies)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.more.set()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


def scope(method: str = "POST", path: str = "/x", **headers: str) -> Scope:
    given = {"host": "localhost:1", "content-type": "application/json", "content-length": "9", **headers}
    return {
        "type": "http", "method": method, "path": path, "state": {},
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip


def gate(app: ASGIApp, **limits: Any) -> Gate:
    return Gate(app, Policy(1), **limits)


async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
    await asyncio.Event().wait()


# silence


async def _silence() -> None:
    client = Client()

    async def answers(notice: Notice) -> Any:
        notice("progress", {"stage": "load", "done": 1, "total": 2})
        notice("token", {"index": 0, "text": "h"})
        while client.text.count(":\n\n") < 4:
            client.more.clear()
            await client.more.wait()
        notice("token", {"index": 0, "text": "i"})
        return ANSWER

    stream = Stream(Exchanges(Scripted(answers)), ORDER, ChatWriter(ORDER, Fields({})), silence=0.001)
    await stream(scope(), client.receive, client.send)
    lines = [line for line in client.text.split("\n") if line]
    # Bare: Continue takes `: ping` for the end of a stream.
    assert {line for line in lines if not line.startswith("data: ")} == {":"}
    assert lines[-1] == "data: [DONE]" and client.status == 200


def test_silence_is_filled_with_bare_comments() -> None:
    run(_silence())


async def _first_word() -> None:
    client = Client()

    async def answers(notice: Notice) -> Any:
        notice("progress", {"stage": "load", "done": 1, "total": 2})
        raise Overloaded("too many", queued=9, limit=8)

    stream = Stream(Exchanges(Scripted(answers)), ORDER, ChatWriter(ORDER, Fields({})))
    with pytest.raises(ApiError):
        await stream(scope(), client.receive, client.send)
    assert client.sent == []


def test_an_error_that_comes_first_is_left_to_be_a_status() -> None:
    run(_first_word())


async def _defect() -> None:
    client = Client()

    async def answers(notice: Notice) -> Any:
        notice("token", {"index": 0, "text": "h"})
        notice("token", {"index": 0, "text": None})
        return ANSWER

    class Broken(ChatWriter):
        def piece(self, piece: Any) -> bytes:
            return super().piece(piece._replace(text=piece.text + "!"))

    await Stream(Exchanges(Scripted(answers)), ORDER, Broken(ORDER, Fields({})))(scope(), client.receive, client.send)
    assert '"code":"internal_error"' in client.text and "[DONE]" not in client.text


def test_a_defect_in_mid_stream_ends_it_as_an_error() -> None:
    run(_defect())


# bodies


async def _slow_body() -> None:
    client = Client()
    await gate(never, body_seconds=0.001)(scope(), client.receive, client.send)
    assert client.status == 408 and (b"connection", b"close") in client.sent[0]["headers"]


def test_a_body_that_does_not_come_is_given_up() -> None:
    run(_slow_body())


async def _large() -> None:
    piece = bytes(1 << 20)
    client = Client(*[piece] * 16)
    await gate(never)(scope(), client.receive, client.send)
    assert client.status == 413 and client.bodies == [], "it is read to its end: clients look for an answer then"
    endless = Client(*[piece] * 200)
    await gate(never)(scope(), endless.receive, endless.send)
    assert endless.status == 413 and len(endless.bodies) > 100


def test_a_body_that_is_too_large() -> None:
    run(_large())


def test_a_body_that_nests_too_deep_or_is_no_object() -> None:
    for body, says in (
        (b"[" * 100 + b"]" * 100, "nested deeper"), (b"[1]", "must be a JSON object"), (b"{", "not JSON"),
        (b'{"a": NaN}', "not JSON"), (b"\xff", "not UTF-8"), (b'{"a": "\\ud800"}', "surrogate"),
    ):  # fmt: skip
        with pytest.raises(Exception, match=says):
            reading.read(body)
    assert reading.read(b"").plain() == {}


# how many


async def _busy() -> None:
    full = gate(never, traffic=Traffic(1))
    first, second = Client(b"{}"), Client(b"{}")
    waiting = asyncio.create_task(full(scope(), first.receive, first.send))
    while first.bodies:
        await asyncio.sleep(0)
    await full(scope(), second.receive, second.send)
    assert second.status == 429 and (b"retry-after", b"1") in second.sent[0]["headers"]
    assert '"overloaded"' in second.text
    first.gone.set()
    await waiting  # the client has gone, so its request has ended
    third = Client(b"{}")
    third.gone.set()
    await full(scope(), third.receive, third.send)
    assert third.sent == []


def test_one_request_too_many_is_told_to_come_again() -> None:
    run(_busy())


async def _listeners() -> None:
    traffic = Traffic(1)
    with traffic.entered(listens=True), traffic.entered(listens=True), traffic.entered():
        with pytest.raises(HttpFailure, match="too many requests"), traffic.entered():
            pass
        idle = asyncio.create_task(traffic.idle())
        await asyncio.sleep(0)
        assert not idle.done()
    await idle


def test_programs_that_listen_take_no_requests_place() -> None:
    run(_listeners())


# connections


class Impatient(PatientProtocol):
    head_seconds = 0.02
    unread_seconds = 0.02


class Narrow(PatientProtocol):
    most = 2


class Endless:
    """An application that writes for ever; `ended` is set when it has to stop."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
                await asyncio.sleep(0)
        finally:
            self.ended.set()


@asynccontextmanager
async def serving(app: ASGIApp, protocol: type[PatientProtocol]) -> AsyncIterator[int]:
    """The port."""
    listener = sockets.on_port("127.0.0.1", 0)
    port = listener.getsockname()[1]
    config = uvicorn.Config(Gate(app, Policy(port)), http=protocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield port
    finally:
        server.force_exit = True
        await server.shutdown(sockets=[listener])


async def _connections() -> None:
    app = Endless()
    async with serving(app, Impatient) as port:
        for head in (b"", b"GET / HTTP/1.1\r\nHo"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            with contextlib.suppress(ConnectionError):  # it may have been hung up on before it wrote
                assert await reader.read() == b"", "a head that does not come to its end"
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        await app.ended.wait()  # without a byte of it read
        writer.close()


def test_a_slow_head_and_a_client_that_does_not_read_are_hung_up_on() -> None:
    run(_connections())


async def _too_many() -> None:
    app = Endless()
    async with serving(app, Narrow) as port:
        busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in busy:
            writer.write(f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        for reader, _ in busy:
            await reader.readexactly(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        for _, each in (*busy, (reader, writer)):
            each.close()


def test_more_connections_than_there_is_room_for_are_closed_at_once() -> None:
    run(_too_many())
