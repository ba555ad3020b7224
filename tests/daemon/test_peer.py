"""A client that asks and does not read: what is kept for it has an end, and only its own connection pays for that."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from threadrunner.daemon import outbox
from threadrunner.daemon import peer as peers
from threadrunner.daemon.methods.context import Outlet
from threadrunner.daemon.peer import Peer
from threadrunner.daemon.workers.sink import encoded
from threadrunner.wire import messages

KIB = "x" * 1024
LIMIT = 1 << 20


class Watcher:
    """Waits for the connection's end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def made(self, peer: Peer) -> None: ...

    def quiet(self, peer: Peer) -> None: ...

    def gone(self, peer: Peer) -> None:
        self.ended.set()


class Endless:
    """Answers `status` at once, and says KIBs in `generate` until it is cancelled, in one of two ways."""

    def __init__(self) -> None:
        self.said = 0
        self.cancelled = asyncio.Event()
        self.peer: Peer

    async def dispatch(self, outlet: Outlet, message: Any) -> dict[str, Any]:
        if message["method"] == "status":
            return {"jsonrpc": "2.0", "id": message["id"], "result": "here"}
        try:
            while True:
                self.said += 1
                if message["params"] == "pieces":
                    outlet.piece(encoded(0, KIB))
                    outlet.flush()
                else:
                    self.peer.send(messages.notification("event", {"data": KIB}))
                await asyncio.sleep(0)
        finally:
            self.cancelled.set()


async def connected(endless: Endless, watcher: Watcher) -> socket.socket:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    _, endless.peer = await loop.create_connection(lambda: Peer(endless.dispatch, watcher), sock=ours)
    theirs.setblocking(False)
    return theirs


def asks(id: int, method: str, params: str = "") -> bytes:
    return messages.encode(messages.request(id, method, params)) + b"\n"  # type: ignore[arg-type]


async def read_on(sock: socket.socket) -> list[Any]:
    """All messages up to the end of the stream."""
    got = b""
    while data := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
        got += data
    return [json.loads(line) for line in got.splitlines()]


@pytest.fixture(autouse=True)
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_BYTES", LIMIT)


@pytest.mark.parametrize("what", ["pieces", "events"])
def test_it_is_hung_up_on_and_finds_out_why_when_it_reads_after_all(what: str) -> None:
    async def scenario() -> None:
        endless, watcher = Endless(), Watcher()
        client = await connected(endless, watcher)
        client.send(asks(1, "generate", what) + asks(2, "generate", what))
        await endless.cancelled.wait()
        assert endless.said < 4 * LIMIT // 1024, "what the kernel and the transport took, and the limit"
        assert endless.peer.outbox.size == 0
        other = await connected(Endless(), Watcher())
        other.send(asks(1, "status"))
        assert b"here" in await asyncio.get_running_loop().sock_recv(other, 1024)
        *_, last = await read_on(client)
        assert (last["id"], last["error"]["data"]["kind"]) == (None, "Overloaded")
        assert "the connection is closed" in last["error"]["message"]
        await watcher.ended.wait()
        client.close()
        other.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_one_that_never_reads_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(peers, "UNREAD_SECONDS", 0.0)
        endless, watcher = Endless(), Watcher()
        client = await connected(endless, watcher)
        client.send(asks(1, "generate", "pieces"))
        await watcher.ended.wait()
        assert not endless.peer.busy
        client.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_nothing_is_kept_for_a_connection_that_is_being_closed() -> None:
    """As one whose framing is broken: it does not read, so its end waits, and its requests went on saying things."""

    async def scenario() -> None:
        endless, watcher = Endless(), Watcher()
        client = await connected(endless, watcher)
        client.send(asks(1, "generate", "pieces"))
        while not endless.peer.outbox:  # the kernel takes no more
            await asyncio.sleep(0)
        endless.peer.close()
        said = endless.said
        while endless.said < said + 100:
            await asyncio.sleep(0)
        assert len(endless.peer.outbox) == endless.peer.outbox.size == 0
        client.close()
        await watcher.ended.wait()
        await endless.cancelled.wait()

    asyncio.run(asyncio.wait_for(scenario(), 60))
