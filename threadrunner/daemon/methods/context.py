"""What a handler is given: one request's call, and the shape of a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from threadrunner.daemon.workers.sink import SilentSink, Sink


class Outlet(Sink, Protocol):
    """One request's way back to its client: its pieces, its progress, what its connection subscribes to, and which of
    its answers the client chooses."""

    def subscribe(self, events: frozenset[str]) -> None:
        """From now on the connection is told of these events, and of no others."""

    def on_choice(self, choose: Callable[[int | None], None]) -> None:
        """Have `choose` called with the candidate that the client chooses among this request's; it may raise
        InvalidParams."""

    def choose(self, request: int | str, candidate: int | None) -> None:
        """Choose among the candidates of another request of the connection. Raises InvalidParams."""


class Call(NamedTuple):
    """One request, as its handler sees it."""

    outlet: Outlet
    given: frozenset[str] = frozenset()
    """The params that the client wrote, where a default would hide whether it did."""


Handler = Callable[[Call, Any], Awaitable[Any]]
"""Typed params to a result. Raises ApiError."""


def plain(handler: Callable[[Any], Awaitable[Any]]) -> Handler:
    """A handler that needs its params and nothing of the call."""

    def handle(_call: Call, params: Any) -> Awaitable[Any]:
        return handler(params)

    return handle


class Unstreamed(SilentSink):
    """Passes only progress on, for a request without `stream`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def progress(self, stage: str, done: int, total: int) -> None:
        self._sink.progress(stage, done, total)
