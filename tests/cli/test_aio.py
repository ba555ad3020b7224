"""The editors' client beside a daemon that is silent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.shell import Shell
from threadrunner.api.errors import InvalidParams, ParseError, Unreachable
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


def test_a_request_that_the_daemon_cannot_read_does_not_wait_for_ever(shell: Shell) -> None:
    """An answer to it has no id."""

    async def scenario() -> None:
        connection = await aio.connected()
        deep: Any = {}
        for _ in range(80):
            deep = {"a": deep}
        for params, error, says in (
            ({"prompt": "x", "template_vars": deep}, ParseError, "nested deeper"),
            ({"prompt": "x", "keep_alive": float("inf")}, InvalidParams, "infinite"),
        ):
            with pytest.raises(error, match=says):
                await asyncio.wait_for(connection.request("generate", params), 10)
        assert await asyncio.wait_for(connection.request("status", {}), 10)
        await connection.close()

    assert shell.run("warm").returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THREADRUNNER_SOCKET", shell.env["THREADRUNNER_SOCKET"])
        asyncio.run(scenario())
