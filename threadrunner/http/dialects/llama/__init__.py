"""llama-server's own endpoints, in its own words: what llama.vim, llama.vscode, Continue and Zed ask it for."""

from __future__ import annotations

from starlette.routing import Route

from threadrunner.http.dialects.llama import completion, events, infill, server
from threadrunner.http.gateway import Gateway


def routes(gateway: Gateway) -> list[Route]:
    return [route for part in (completion, infill, server, events) for route in part.routes(gateway)]
