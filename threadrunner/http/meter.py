"""What `serve` counts of its own work: requests by dialect and status, how long answers took to begin, and what each
key has used."""

from __future__ import annotations

import time
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threadrunner.api.generation import Generated
from threadrunner.http import asking, proxies
from threadrunner.http.asking import Asking
from threadrunner.http.audit import Audit
from threadrunner.http.policy import public

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds: a warm answer to a load of a large model with a long prompt."""

_LLAMA = (
    "/infill", "/completion", "/props", "/slots", "/tokenize", "/detokenize", "/apply-template", "/models/sse",
    "/health", "/rerank",
)  # fmt: skip


def dialect_of(path: str) -> str:
    """A label of few values, whatever is asked for."""
    if path.startswith("/v1/messages"):
        return "anthropic"
    if path.startswith("/api/"):
        return "ollama"
    if path.startswith("/v1/") or path in ("/chat/completions", "/completions", "/embeddings", "/models"):
        return "openai"
    return "llama" if path in _LLAMA else "other"


class Meter:
    """Counts since `serve` began."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """By dialect and status; 499: the client went away before there was one."""
        self.buckets = [0] * (len(BOUNDS) + 1)
        """How many answers began within each bound and not the one before; the last: later than all."""
        self.seconds = 0.0
        """Of all answers together, until their first token."""

        self.by_key: Counter[tuple[str, int]] = Counter()
        """Requests by the key's name and status; 429 are those over its limits, or the server's."""
        self.over: Counter[tuple[str, str]] = Counter()
        """Requests that were refused, by the key's name and which of its limits they were over."""
        self.tokens: Counter[tuple[str, str]] = Counter()
        """By the key's name, and `prompt`, `cached` or `completion`."""

    def used(self, key: str, what: str, tokens: int) -> None:
        self.tokens[key, what] += tokens

    def answered(self, answer: Generated) -> None:
        took = answer.timings.ttft_ms / 1e3
        self.buckets[sum(took > bound for bound in BOUNDS)] += 1
        self.seconds += took


class Metered:
    """The application, with its answers counted and noted."""

    def __init__(self, app: ASGIApp, meter: Meter, audit: Audit | None = None) -> None:
        self._app = app
        self._meter = meter
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 499
        current = Asking(counted=self._meter.used)
        asking.CURRENT.set(current)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            if scope["type"] == "http":
                self._meter.requests[dialect_of(scope["path"]), status] += 1
                if current.holder is not None:
                    self._meter.by_key[current.holder.name, status] += 1
                    if current.over:
                        self._meter.over[current.holder.name, current.over] += 1
                if self._audit is not None and not public(scope["path"]):  # probes come every few seconds
                    address = scope["client"][0] if scope.get("client") else proxies.UNIX
                    seconds = time.monotonic() - current.began
                    self._audit.write(current, address, scope["method"], scope["path"], status, seconds)
