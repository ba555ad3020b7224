"""The editors' client beside a daemon that is silent."""

from __future__ import annotations

import asyncio
import json

import pytest

from threadrunner.api.errors import Unreachable
from threadrunner.client import aio


def test_a_silent_daemon_is_asked_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "_SILENCE_SECONDS", 0.05)
    asyncio.run(_given_up(answers=3))


async def _given_up(answers: int) -> None:
    """It answers `answers` times that it lives, and then no more."""
    here = asyncio.StreamReader()
    asked: list[str] = []

    class Writer:
        def write(self, data: bytes) -> None:
            message = json.loads(data)
            asked.append(message["method"])
            if message["method"] == "status" and asked.count("status") <= answers:
                here.feed_data(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}).encode() + b"\n")

        def close(self) -> None:
            here.feed_eof()

    connection = aio.AsyncConnection(here, Writer())  # type: ignore[arg-type]
    with pytest.raises(Unreachable, match="does not answer"):
        await asyncio.wait_for(connection.request("generate", {}), 10)
    assert asked == ["generate", *["status"] * (answers + 1)]
    assert not connection.open
