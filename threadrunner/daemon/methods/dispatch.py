"""From a request object to its handler and back: jsonrpcserver between them.

jsonrpcserver takes 150 ms to import, which a first prompt must not wait for: until it is there, a request's handler
runs already (its model loads meanwhile), and the library is given the handler's end to make the response of.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from threadrunner.api.errors import BY_CODE, ApiError, InvalidParams, ShuttingDown
from threadrunner.api.methods import METHODS
from threadrunner.daemon.methods.context import Call, Handler, Outlet
from threadrunner.daemon.tally import Tally

Outcome = Any | ApiError
"""A handler's result, or the error that it raised."""


class Dispatcher:
    """All methods; the only module that knows jsonrpcserver."""

    def __init__(self, handlers: Mapping[str, Handler], tally: Tally, stopping: Callable[[], bool]) -> None:
        """`handlers` has one for each of api.METHODS."""
        assert handlers.keys() == METHODS.keys(), handlers.keys() ^ METHODS.keys()
        self._handlers = handlers
        self._tally = tally
        self._stopping = stopping
        self._library: _Library | None = None

    async def dispatch(self, outlet: Outlet, message: Any) -> dict[str, Any] | None:
        """The response to one request object; None for a notification. Raises only what a defect of ours raises."""
        if self._library is not None:
            return await self._library.respond(message, functools.partial(self._handle, outlet))
        early = asyncio.create_task(self._early(outlet, message)) if is_request(message) else None
        try:
            library = await asyncio.to_thread(_Library)
            self._library = self._library or library
            return await self._library.respond(message, functools.partial(self._handle, outlet), early)
        finally:
            if early is not None:
                early.cancel()

    async def _early(self, outlet: Outlet, message: dict[str, Any]) -> Outcome:
        return await self._handle(outlet, message["method"], message.get("params", {}))

    async def _handle(self, outlet: Outlet, name: str, members: dict[str, Any]) -> Outcome:
        """Never raises an ApiError: what a handler raised is returned, and counted."""
        given = frozenset(key for key, value in members.items() if value is not None)
        try:
            if self._stopping() and name not in ("status", "shutdown"):
                raise ShuttingDown("the daemon is ending; connect again once it has hung up")
            return await self._handlers[name](Call(outlet, given), msgspec.convert(members, METHODS[name].params))
        except msgspec.ValidationError as error:
            failure: ApiError = InvalidParams(f"{name}: {error}")
        except ApiError as error:
            failure = error
        self._tally.failed(failure.kind)
        return failure


def is_request(message: Any) -> bool:
    """Whether jsonrpcserver too will hand this message to a method of ours (its request-schema.json)."""
    return (
        isinstance(message, dict)
        and message.keys() <= {"jsonrpc", "id", "method", "params"}
        and message.get("jsonrpc") == "2.0"
        and isinstance(name := message.get("method"), str)
        and name in METHODS
        and isinstance(message.get("params", {}), dict)
        and isinstance(message.get("id"), (int, float, str, type(None)))
        and not isinstance(message.get("id"), bool)
    )


Handle = Callable[[str, dict[str, Any]], Awaitable[Outcome]]


class _Library:
    """jsonrpcserver, imported when this is made."""

    def __init__(self) -> None:
        library = importlib.import_module("jsonrpcserver")
        self._success, self._error = library.Success, library.Error
        self._dispatch = importlib.import_module("jsonrpcserver.async_main").dispatch_to_serializable
        self._methods = {name: self._method(name) for name in METHODS}

    async def respond(
        self, message: Any, handle: Handle, early: asyncio.Task[Outcome] | None = None
    ) -> dict[str, Any] | None:
        """The response to a message. Its handler is run by `handle`, unless `early` runs it already."""
        response: Any = await self._dispatch(
            "", methods=self._methods, context=(handle, early), deserializer=lambda _: message
        )
        if response and (error := response.get("error")) and not isinstance(error.get("data"), dict):
            # The library's own errors carry a bare text: give them a kind like all others.
            known = BY_CODE.get(error["code"], ApiError)
            error["data"] = {"kind": known.__name__, "detail": error.get("data")}
        return response  # type: ignore[no-any-return]  # a batch never comes here: Peer splits them

    def _method(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def run(context: tuple[Handle, asyncio.Task[Outcome] | None], /, **members: Any) -> Any:
            handle, early = context
            outcome = await (handle(name, members) if early is None else early)
            if isinstance(outcome, ApiError):
                return self._error(outcome.code, outcome.message, outcome.data)
            return self._success(outcome)

        return run
