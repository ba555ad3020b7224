"""`/ui/api/…`: what the page asks. The conversations are the daemon's, the same as those of `threadrunner chat`.

Only for the page, of the same origin: what it takes and gives may change with the page, and is documented nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from threadrunner import __version__
from threadrunner.api.conversations import slug
from threadrunner.api.errors import SessionNotFound
from threadrunner.http import asking, images, tabs
from threadrunner.http.exchange import Order
from threadrunner.http.failures import HttpFailure
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.live import LiveAnswer, LiveAnswers
from threadrunner.http.reading import Fields
from threadrunner.http.streams import HEADERS, NDJSON, outlet

READS = ("sessions.list", "sessions.show", "sessions.search", "modes.list", "models.list", "status")
CHANGES = ("sessions.rename", "sessions.delete", "sessions.fork", "sessions.undo", "sessions.import")
"""The daemon's methods that are passed on; it checks their params itself."""

_TEXTS = ("system", "mode", "reasoning")
_NUMBERS = ("temperature", "top_p")


def routes(gateway: Gateway) -> list[Route]:
    page = PageApi(gateway)
    handlers = {"turn": page.turn, "watch": page.watch, "stop": page.stop, "events": page.events, "state": page.state}
    own = [Route(f"/ui/api/{name}", handler, methods=["POST"]) for name, handler in handlers.items()]
    return [*own, Route("/ui/api/{method}", page.passed_on, methods=["POST"])]


class PageApi:
    """The page's side of one `serve`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._live = LiveAnswers(gateway.exchanges, gateway.news.tell)
        self._naming = asyncio.Lock()

    async def passed_on(self, request: Request) -> Response:
        """One of READS or CHANGES; the other tabs are told of a change."""
        body, method = await _read(request), request.path_params["method"]
        if method not in (*READS, *CHANGES):
            raise HttpFailure(404, "not_found_error", f"the page has no {method[:40]!r}", "not_found")
        params = body.plain()
        if method == "sessions.import":
            params = await self._imported(body)
        result = await self._gateway.request(method, params)
        if method in CHANGES:
            await self._changed(method, params, request.headers.get("x-tab"))
        return JSONResponse(result, headers=HEADERS)

    async def _changed(self, method: str, params: dict[str, Any], by: str | None) -> None:
        """An answer that is under way goes on under its conversation's new name, and ends with it."""
        session, event = params.get("session"), {"change": method, "by": by}
        if method == "sessions.rename":
            event["name"] = params["name"]
            self._live.renamed(params["session"], params["name"])
        self._gateway.news.tell({"session": session, **event})
        if method == "sessions.delete" and (answer := self._live.get(params["session"])) is not None:
            await answer.stopped(deleted=True)

    async def _imported(self, body: Fields) -> dict[str, Any]:
        """Names, never paths, as everywhere on the port: a conversation would remember one. What is not known here is
        left out, and the conversation goes on with the model that is picked."""
        params = {name: value for name, value in body.plain().items() if name not in ("model", "backend")}
        try:
            return {**params, **await self._gateway.target(body.text("model"))}
        except HttpFailure:
            return params

    async def state(self, request: Request) -> Response:
        """All that the page needs beside conversations. `passive`: no person has asked for it, so no daemon is started:
        one that is being stopped says that its models go, and must not come back for that."""
        ask = self._gateway.news.request if (await _read(request)).flag("passive") else self._gateway.request
        names = ("status", "models.list", "modes.list")
        status, models, modes = await asyncio.gather(*(ask(name, {}) for name in names))
        found = {"version": __version__, "status": status, "live": self._live.names()}
        return JSONResponse({**found, "models": models["models"], "modes": modes["modes"]}, headers=HEADERS)

    async def events(self, request: Request) -> Response:
        await _read(request)
        return LineStream(tabs.listen(self._gateway.news))

    async def turn(self, request: Request) -> Response:
        """A prompt, and its answer as lines. `replace` is how many of the last turns it takes the place of, `turns` how
        many the tab has seen: a conversation that has moved on meanwhile must not lose a turn that nobody saw."""
        body = await _read(request)
        pictures = images.listed(body)
        prompt = body.text("prompt") or "" if pictures or body.whole("replace") else body.need_text("prompt")
        params = await self._params(body)
        async with self._naming:
            name = body.text("session") or await self._free_name(slug(prompt))
            if name in self._live:
                text = "this conversation is being answered; stop that first, or wait for its end"
                raise HttpFailure(409, "invalid_request_error", text, "busy")
            if (replace := body.whole("replace") or 0) > 0:
                await self._check_seen(name, body.whole("turns"))
            asked = {**params, "prompt": prompt, "session": name, "replace": replace}
            order = Order("generate", asked | ({"images": pictures} if pictures else {}), "")
            answer = self._live.begin(name, order, request.headers.get("x-tab"))
        return _watched(answer)

    async def watch(self, request: Request) -> Response:
        """The answer that is under way in a conversation, from its first word on."""
        answer = self._live.get((await _read(request)).need_text("session"))
        if answer is None:
            raise HttpFailure(404, "not_found_error", "nothing is being answered there", "not_live")
        return _watched(answer)

    async def stop(self, request: Request) -> Response:
        answer = self._live.get((await _read(request)).need_text("session"))
        if answer is not None:
            await answer.stopped()
        return JSONResponse({"stopped": answer is not None}, headers=HEADERS)

    async def _params(self, body: Fields) -> dict[str, Any]:
        params = await self._gateway.target(body.text("model"))
        params |= {name: text for name in _TEXTS if (text := body.text(name)) is not None}
        params |= {name: number for name in _NUMBERS if (number := body.number(name)) is not None}
        if (memory := body.flag("memory")) is not None:
            params["memory"] = memory
        return params

    async def _free_name(self, wanted: str) -> str:
        """The name for a new conversation, chosen here because tabs must find its answer before it ends."""
        number, name = 1, wanted
        while name in self._live or await self._seen(name) is not None:
            number += 1
            name = f"{wanted}-{number}"
        return name

    async def _seen(self, name: str) -> int | None:
        """How many turns a conversation has; None: there is none of that name."""
        try:
            shown = await self._gateway.request("sessions.show", {"session": name, "last": 1})
        except SessionNotFound:
            return None
        turns: int = shown["session"]["turns"]
        return turns

    async def _check_seen(self, name: str, turns: int | None) -> None:
        if turns is not None and await self._seen(name) != turns:
            text = "the conversation has gone on elsewhere; it is shown as it is now, so look at it and try again"
            raise HttpFailure(409, "invalid_request_error", text, "moved_on")


async def _read(request: Request) -> Fields:
    """The body. Raises HttpFailure 403 for a page that is not ours (`--allow-origin` is for the dialects), and for a
    key that is not for conversations."""
    origin, host = request.headers.get("origin"), request.headers.get("host")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        raise HttpFailure(403, "permission_error", "this is for threadrunner's own page", "origin_not_allowed")
    asking.need("conversations", "the page and its conversations")
    return await fields(request)


def _watched(answer: LiveAnswer) -> Response:
    return LineStream(answer.watch())


class LineStream(Response):
    """Lines as they come; ends with them, or with its client."""

    def __init__(self, lines: AsyncGenerator[bytes, None]) -> None:
        self._lines = lines
        self.background = None
        self.status_code = 200
        self.init_headers({**HEADERS, "content-type": NDJSON})
        # A stream's length is not known.
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        write = outlet(scope, send)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for body in self._lines:
                if body:
                    await write(body)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            # At once, not when it is collected: that is how an answer knows that its tab has gone.
            await self._lines.aclose()
