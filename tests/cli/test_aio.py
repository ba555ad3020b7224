"""The editors' client beside a daemon that is silent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from threadrunner.api.errors import Unreachable
from threadrunner.client import aio


def test_a_silent_daemon_is_asked_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "_SILENCE_SECONDS", 0.05)
    asyncio.run(_given_up(answers=3))


async def _given_up(answers: int) -> None:
    """It answers `answers` times that it lives, and then no more."""
    asked: list[str] = []
    connection = aio.AsyncConnection()

    class Transport(asyncio.Transport):
        def write(self, data: Any) -> None:
            message = json.loads(data)
            asked.append(message["method"])
            if message["method"] == "status" and asked.count("status") <= answers:
                said = {"jsonrpc": "2.0", "id": message["id"], "result": {}}
                loop.call_soon(connection.data_received, json.dumps(said).encode() + b"\n")

        def close(self) -> None:
            loop.call_soon(connection.connection_lost, None)

    loop = asyncio.get_running_loop()
    connection.connection_made(Transport())
    with pytest.raises(Unreachable, match="does not answer"):
        await asyncio.wait_for(connection.request("generate", {}), 10)
    assert asked == ["generate", *["status"] * (answers + 1)]
    assert not connection.open


class OtherLoopsTransport:
    """uvloop's are like this: what asyncio's do, and no subclasses of them."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        pass


def test_a_transport_of_another_event_loop_will_do() -> None:
    async def scenario() -> bytes:
        connection, transport = aio.AsyncConnection(), OtherLoopsTransport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        asking = asyncio.create_task(connection.request("status", {}))
        await asyncio.sleep(0)
        asking.cancel()
        return transport.written

    assert b'"status"' in asyncio.run(scenario())
