"""llama-server's GET /models/sse: what becomes of models, whoever asked for it. Zed shows loads by it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from threadrunner.http import streams
from threadrunner.http.gateway import Gateway
from threadrunner.http.names import without_path
from threadrunner.http.news import News

_STATUS = {
    "model.loading": "loading", "model.reloading": "loading",
    "model.loaded": "loaded", "model.reloaded": "loaded",
    "model.unloaded": "unloaded", "model.failed": "failed",
}  # fmt: skip


def routes(gateway: Gateway) -> list[Route]:
    async def events(_request: Request) -> Response:
        await gateway.request("status", {})  # there is a daemon that can be heard
        return EventStream(gateway.news)

    return [Route("/models/sse", events, methods=["GET"])]


def told(event: dict[str, Any]) -> dict[str, Any] | None:
    """One of the daemon's events in llama-server's words; None for what it has no word for."""
    status = _STATUS.get(event.get("event", ""))
    if status is None:
        return None
    data: dict[str, Any] = {"status": status}
    if status == "loading":
        data["progress"] = {"stages": ["text_model"], "current": "text_model", "value": 0.0}
    if status == "failed":
        data["exit_code"] = 1
    return {"model": without_path(event["model"]), "event": "model_status", "data": data}


class EventStream(Response):
    """All events from now on, until the client goes or `serve` ends."""

    def __init__(self, news: News, silence: float = streams.SILENCE) -> None:
        self._news = news
        self._silence = silence
        super().__init__(headers=streams.HEADERS, media_type=streams.SSE)
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            self.body = b""
            await super().__call__(scope, _receive, send)
            return
        write = streams.outlet(scope, send)
        async with self._news.heard() as heard:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await write(b":\n\n")
            while True:
                try:
                    async with asyncio.timeout(self._silence):
                        event = await heard.get()
                except TimeoutError:
                    await write(b":\n\n")
                    continue
                if event is None:
                    break
                if (said := told(event)) is not None:
                    await write(streams.data(said))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
