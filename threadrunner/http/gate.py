"""What stands before every handler: the policy, the limits, and the watch for a client that goes away.

A handler of Starlette's is not cancelled when its client hangs up before the answer has begun. Here it is, whatever it
waits for: its task ends, with it the exchange, and the daemon is told.
"""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threadrunner.http import failures, policy, reading
from threadrunner.http.failures import HttpFailure
from threadrunner.http.policy import Head, Policy

BUSY = 64
"""Requests that may be under way; one more is told to come again."""

BODY_SECONDS = 60.0
"""That a client may take to send a body."""

DRAINED = 4 * reading.BODY_LIMIT
"""Bytes of a body that is too large which are still read: most clients look for an answer only when all is sent."""

_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


class Gate:
    """The whole application, as the server calls it."""

    def __init__(self, app: ASGIApp, rules: Policy, busy: int = BUSY, body_seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._rules = rules
        self._free = busy
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        head = Head(scope["method"], scope["path"], headers)
        send = _with_headers(send, _shared(self._rules, head))
        try:
            if failure := policy.refusal(self._rules, head):
                raise failure
            if head.method == "OPTIONS":
                await _preflight(head)(scope, receive, send)
                return
            await self._answer(scope, receive, send)
        except HttpFailure as failure:
            await refused(failure, head.path)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._free <= 0:
            text = "too many requests are under way; try again in a moment"
            raise HttpFailure(429, "rate_limit_error", text, "overloaded", headers={"retry-after": "1"})
        self._free -= 1
        try:
            body = await _body(receive, self._body_seconds)
            if body is not None:
                await _watched(self._app, scope, receive, send, body)
        finally:
            self._free += 1


def refused(failure: HttpFailure, path: str) -> Response:
    status, headers, body = failures.spoken(failure, path)
    return JSONResponse(body, status, headers=headers)


async def _body(receive: Receive, seconds: float) -> bytes | None:
    """All of it; None where the client has gone. Raises HttpFailure for one that is too large, or too slow."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            while size <= DRAINED:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                size += len(message.get("body", b""))
                if size <= reading.BODY_LIMIT:
                    parts.append(message.get("body", b""))
                else:
                    parts.clear()
                if not message.get("more_body"):
                    break
    except TimeoutError:
        text = f"the body was not there after {seconds:.0f} seconds"
        raise HttpFailure(408, "invalid_request_error", text, headers={"connection": "close"}) from None
    if size > reading.BODY_LIMIT:
        text = f"the body has more than {reading.BODY_LIMIT} bytes"
        raise HttpFailure(413, "invalid_request_error", text, "too_large", headers={"connection": "close"})
    return b"".join(parts)


async def _watched(app: ASGIApp, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
    """Call the application with a body that is all there; cancel it when the client hangs up, or is hung up on."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            await asyncio.Event().wait()  # cancelled with the task that waits
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    answering = asyncio.ensure_future(app(scope, replay, send))
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
    finally:
        for task in (answering, gone):
            task.cancel()
        await asyncio.gather(answering, gone, return_exceptions=True)


def _shared(rules: Policy, head: Head) -> list[tuple[bytes, bytes]]:
    """Headers that let a page of an allowed origin read the answer: its own origin, to the letter, and no cookies."""
    headers = [(b"vary", b"Origin")] if rules.origins else []
    if origin := policy.shared_with(rules, head):
        headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
        headers.append((b"access-control-expose-headers", b"retry-after, x-should-retry"))
    return headers


def _preflight(head: Head) -> Response:
    asked = [name.strip().lower() for name in (head.one("access-control-request-headers") or "").split(",")]
    allowed = [name for name in asked if name in policy.ALLOWED_HEADERS or name.startswith("x-stainless-")]
    return Response(
        status_code=204,
        headers={
            "allow": "GET, HEAD, POST, OPTIONS",
            "access-control-allow-methods": "GET, HEAD, POST, OPTIONS",
            "access-control-allow-headers": ", ".join(allowed),
            "access-control-max-age": "600",
        },
    )


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_ALWAYS, *headers]}
        await send(message)

    return sending
