"""What stands before every handler: the policy, the limits of keys, and the watch for a client that goes away.

A handler of Starlette's is not cancelled when its client hangs up before the answer has begun. Here it is, whatever it
waits for: its task ends, with it the exchange, and the daemon is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threadrunner.http import asking, failures, policy, reading
from threadrunner.http.failures import HttpFailure
from threadrunner.http.keys import Holder
from threadrunner.http.policy import Head, Policy
from threadrunner.http.traffic import Traffic

BODY_SECONDS = 60.0
"""That a client may take to send a body."""

DRAINED = 4 * reading.BODY_LIMIT
"""Bytes of a body that is too large which are still read: most clients look for an answer only when all is sent."""

LISTENING = ("/models/sse", "/ui/api/events")
"""Paths of streams that have news for as long as a program or a tab is open."""

_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


class Gate:
    """The whole application, as the server calls it."""

    def __init__(
        self, app: ASGIApp, rules: Policy, traffic: Traffic | None = None, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._app = app
        self._rules = rules
        self._traffic = traffic or Traffic()
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
            if not policy.public(head.path):
                if self._traffic.draining:
                    raise _ending()
                _admit(policy.holder(self._rules, head), policy.takes_place(head))
            await self._answer(scope, receive, send)
        except HttpFailure as failure:
            await refused(failure, head.path)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._traffic.entered(scope["path"] in LISTENING), _under_way():
            body = await _body(receive, self._body_seconds)
            if body is not None:
                await _watched(self._app, scope, receive, send, body)


def _ending() -> HttpFailure:
    text = "this server is about to end, and finishes what it has begun; ask again in a moment"
    headers = {"retry-after": "2", "connection": "close"}
    return HttpFailure(503, "unavailable_error", text, "shutting_down", headers=headers)


@contextlib.contextmanager
def _under_way() -> Iterator[None]:
    now = asking.current()
    now.hold()
    try:
        yield
    finally:
        now.release()


def _admit(holder: Holder | None, takes_place: bool) -> None:
    """Note whose the request is. Raises HttpFailure 429 where that key has had what it may have of this minute, or has
    as many requests under way as it may."""
    now = asking.CURRENT.get()
    now.holder = holder
    if holder is None or holder.limits is None:
        return
    if (used_up := holder.limits.ask(takes_place)) is None:
        now.place = holder.limits if takes_place else None
        return
    now.over = used_up.limit
    seconds = math.ceil(used_up.seconds)
    if used_up.limit == "at_once":
        text = f"the key {holder.name!r} may have {used_up.size} requests under way at once, and has"
    else:
        text = f"the key {holder.name!r} has {used_up.size} {used_up.limit} a minute, which are used up"
    facts = {"limit": used_up.limit, "size": used_up.size}
    raise HttpFailure(
        429,
        "rate_limit_error",
        f"{text}; come again in {seconds} s",
        "rate_limit_exceeded",
        headers={"retry-after": str(seconds)},
        facts=facts,
    )


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
