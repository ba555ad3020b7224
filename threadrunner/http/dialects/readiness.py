"""GET /ready: whether a balancer should send requests here. `/health` says only that the process lives."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.api.errors import ApiError
from threadrunner.client import autostart
from threadrunner.http.gateway import Gateway


def routes(gateway: Gateway) -> list[Route]:
    async def ready(_request: Request) -> Response:
        """Starts no daemon, or `threadrunner stop` would be undone by whatever looks here; loads no model. Says nothing
        of models, for it asks for no key."""
        why = "ending" if gateway.traffic.draining else await asyncio.to_thread(_silent)
        if why:
            return JSONResponse({"status": "unavailable", "why": why}, 503, {"retry-after": "2"})
        return JSONResponse({"status": "ok"})

    return [Route("/ready", ready)]


def _silent() -> str:
    """Why the daemon cannot be asked; one that is not there is started by the first request. Blocking."""
    try:
        if (connection := autostart.find()) is not None:
            connection.close()
    except ApiError:
        return "the daemon does not answer"
    return ""
