"""The HTTP app below a model's own path, and who may ask there. Pure ASGI."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threadrunner.cluster.keys import known_by
from threadrunner.http.failures import HttpFailure
from threadrunner.http.gate import refused
from threadrunner.http.policy import Policy
from threadrunner.http.sockets import in_url

LEFT_OUT = ("/page/", "/ui/", "/metrics", "/manifest.webmanifest", "/favicon.ico")
"""The page and its conversations, and counts of one replica that would change with each request's way."""


def local_path(path: str, route: str) -> str:
    """A request's path as the app knows it: Serve passes on the whole one."""
    if route == "/" or not (path == route or path.startswith(f"{route}/")):
        return path
    return path[len(route) :] or "/"


def is_left_out(path: str) -> bool:
    return path == "/" or path.startswith(LEFT_OUT)


def policy(args: dict[str, Any]) -> Policy:
    """By a replica's part of the configuration."""
    return Policy(
        args["port"],
        frozenset(in_url(host.lower()) for host in args["hosts"]),
        who=known_by(args["keys"]) if args["keys"] else None,
        how_host="`hosts` in the cluster's file adds a name",
        how_origin="a cluster answers to programs only",
    )


class Mounted:
    """An ASGI application. Begins and ends with nothing: what it needs is there before it is made."""

    def __init__(self, app: ASGIApp, route: str, replica: str = "") -> None:
        """`replica` is told in each answer's head: which one it was, to see whether talks stay where their cache is."""
        self._app = app
        self._route = route
        self._head = [(b"x-threadrunner-replica", replica.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        path = local_path(scope["path"], self._route)
        send = self._named(send)
        if scope["type"] == "http" and is_left_out(path):
            text = f"a cluster has no {path}; ask {self._route.rstrip('/')}/v1/chat/completions, see docs/cluster.md"
            await refused(HttpFailure(404, "not_found_error", text, "not_found"), path)(scope, receive, send)
            return
        await self._app({**scope, "path": path, "raw_path": path.encode(), "root_path": ""}, receive, send)

    def _named(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *self._head]}
            await send(message)

        return sending


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
