"""All routes of all dialects, and what becomes of what their handlers raise."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from threadrunner.api.errors import ApiError
from threadrunner.http import failures
from threadrunner.http.audit import Audit
from threadrunner.http.dialects import (
    anthropic,
    chat,
    completions,
    embeddings,
    llama,
    metrics,
    models,
    ollama,
    ollama_models,
    page,
    readiness,
    responses,
    ui,
)
from threadrunner.http.failures import HttpFailure
from threadrunner.http.gate import Gate, refused
from threadrunner.http.gateway import Gateway
from threadrunner.http.meter import Metered
from threadrunner.http.policy import Policy
from threadrunner.http.proxies import Proxied, Proxies

log = logging.getLogger("threadrunner.http")

DIALECTS = (
    chat,
    completions,
    embeddings,
    models,
    responses,
    anthropic,
    ollama,
    ollama_models,
    llama,
    metrics,
    readiness,
    page,
    ui,
)
"""Modules with `routes(gateway)`."""


def make_app(gateway: Gateway, rules: Policy, proxies: Proxies, audit: Audit | None) -> ASGIApp:
    """The application, behind its guard."""
    routes = [route for dialect in DIALECTS for route in dialect.routes(gateway)]
    handlers = {HttpFailure: _failed, ApiError: _failed, HTTPException: _no_route, Exception: _defect}
    gate = Gate(Starlette(routes=routes, exception_handlers=handlers), rules, gateway.traffic)
    return Proxied(Metered(gate, gateway.meter, audit), proxies, gateway.base)


async def _failed(request: Request, error: Exception) -> Response:
    failure = error if isinstance(error, HttpFailure) else failures.of(error) if isinstance(error, ApiError) else None
    return refused(failure or failures.DEFECT, request.url.path)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        text = f"{request.url.path} does not take {request.method}"
        return refused(
            HttpFailure(405, "invalid_request_error", text, headers=dict(error.headers or {})), request.url.path
        )
    text = f"there is no {request.url.path} here; docs/http.md lists what there is"
    return refused(HttpFailure(404, "not_found_error", text, "not_found"), request.url.path)


async def _defect(request: Request, _error: Exception) -> Response:
    return refused(failures.DEFECT, request.url.path)
