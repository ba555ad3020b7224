"""The daemon and the editor as objects of this process, without a socket or a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lsprotocol import types as lsp

from tests.support import PATIENCE
from threadrunner.client.aio import Notice


@dataclass
class Request:
    """One that the daemon was sent; it stays open until the test answers it or the sender cancels it."""

    method: str
    params: dict[str, Any]
    notice: Notice | None
    answer: asyncio.Future[Any]
    cancelled: bool = False

    def speak(self, text: str) -> None:
        assert self.notice
        self.notice("token", {"index": 0, "text": text})

    def end(self, text: str, finish_reason: str = "stop", **more: Any) -> None:
        self.answer.set_result({"text": text, "finish_reason": finish_reason, **more})


@dataclass
class FakeDaemon:
    """A `DaemonConnection`."""

    connected: bool = True
    closed: bool = False
    requests: list[Request] = field(default_factory=list)

    async def request(self, method: str, params: dict[str, Any], notice: Notice | None = None) -> Any:
        request = Request(method, params, notice, asyncio.get_running_loop().create_future())
        self.requests.append(request)
        try:
            return await request.answer
        except asyncio.CancelledError:
            request.cancelled = True
            raise

    async def close(self) -> None:
        self.closed = True

    async def sent(self, number: int = 1) -> Request:
        """The request of this number, counted from 1, once it has been sent."""
        await until(lambda: len(self.requests) >= number)
        return self.requests[number - 1]


@dataclass
class FakeEditor:
    """An `EditorClient` that records what it is sent, and answers requests by `replies`, with None otherwise."""

    replies: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    notified: list[tuple[str, Any]] = field(default_factory=list)
    shown: list[tuple[lsp.MessageType, str]] = field(default_factory=list)

    async def ask(self, method: str, params: object) -> Any:
        self.asked.append(method)
        return self.replies.get(method)

    def notify(self, method: str, params: object) -> None:
        self.notified.append((method, params))

    def show(self, kind: lsp.MessageType, text: str) -> None:
        self.shown.append((kind, text))


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)
