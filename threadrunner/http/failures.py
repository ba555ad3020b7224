"""What goes wrong, as an HTTP status and a body in the words of the dialect that was spoken."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from threadrunner.api import errors
from threadrunner.api.errors import ApiError


@dataclass(frozen=True)
class _Kind:
    status: int
    type: str
    code: str | None = None
    retry: bool = False
    """Whether the same request may succeed a little later."""


# By the error's kind; the types are OpenAI's and llama-server's.
_KINDS: dict[type[ApiError], _Kind] = {
    errors.ModelNotFound: _Kind(404, "invalid_request_error", "model_not_found"),
    errors.SessionNotFound: _Kind(404, "invalid_request_error", "session_not_found"),
    errors.InvalidParams: _Kind(400, "invalid_request_error"),
    errors.InvalidRequest: _Kind(400, "invalid_request_error"),
    errors.InvalidGrammar: _Kind(400, "invalid_request_error", "invalid_grammar"),
    errors.ContextOverflow: _Kind(400, "exceed_context_size_error", "context_length_exceeded"),
    errors.NotSupported: _Kind(400, "invalid_request_error", "not_supported"),
    errors.Overloaded: _Kind(429, "rate_limit_error", "overloaded", retry=True),
    errors.RemoteUnreachable: _Kind(502, "server_error", "remote_unreachable"),
    errors.RemoteFailed: _Kind(502, "server_error", "remote_failed"),
    errors.RemoteRefused: _Kind(502, "server_error", "remote_refused"),
    errors.Timeout: _Kind(504, "server_error", "timeout"),
    errors.ShuttingDown: _Kind(503, "unavailable_error", "shutting_down", retry=True),
    errors.Disconnected: _Kind(503, "unavailable_error", "no_daemon", retry=True),
    errors.Unreachable: _Kind(503, "unavailable_error", "no_daemon", retry=True),
}
_DEFECT = _Kind(500, "server_error")

_ANTHROPIC = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


@dataclass
class HttpFailure(Exception):
    """An answer that is an error. `facts` become members of the body, beside the five that all clients read."""

    status: int
    type: str
    message: str
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message


def invalid(message: str, param: str | None = None) -> HttpFailure:
    """400: the request itself is wrong; the text says what to do."""
    return HttpFailure(400, "invalid_request_error", message, param=param)


DEFECT = HttpFailure(
    500, "server_error", "a defect of threadrunner's; what `threadrunner serve` has printed tells where",
    "internal_error", headers={"x-should-retry": "false"},
)  # fmt: skip


def of(error: ApiError) -> HttpFailure:
    """The daemon's error. Official SDKs try 429, and all from 500 on, twice more unless told not to: a load that has
    failed after a minute would fail three times."""
    kind = _KINDS.get(type(error), _DEFECT)
    message, at, place = error.message.partition(" - at `$.")
    headers = {"retry-after": "1"} if kind.retry else {"x-should-retry": "false"} if kind.status >= 500 else {}
    facts = dict(error.facts)
    message = _without_folders(message, facts.pop("path", None))
    if isinstance(error, errors.ContextOverflow):
        # The names that llama-server's clients read.
        facts |= {"n_prompt_tokens": error.facts.get("prompt_tokens"), "n_ctx": error.facts.get("limit")}
    param = place.rstrip("`") if at else None
    if param is not None:  # "generate: Expected `float` >= 0.0"
        message = f"`{param}`: {message.partition(': ')[2] or message}"
    return HttpFailure(kind.status, kind.type, message, kind.code, param, headers, {"kind": error.kind, **facts})


_FOLDER = re.compile(r"(?<![\w/:.])~?/(?:[^\s/'\",;]+/)+")


def _without_folders(message: str, path: str | None) -> str:
    """Names of files only: where they are is nothing to whoever reaches the port. `path` may have blanks in it."""
    if path:
        message = message.replace(path, os.path.basename(path))
    return _FOLDER.sub("", message)


_LLAMA = (
    "/infill", "/completion", "/completions", "/props", "/slots", "/tokenize", "/detokenize", "/apply-template",
    "/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/lora-adapters", "/models/sse",
)  # fmt: skip
"""Paths of llama-server's own, whose errors have the status as their code, and 501 for what it cannot do."""


def spoken(failure: HttpFailure, path: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body in the dialect of `path`."""
    if path.startswith("/v1/messages"):
        told = anthropic_error(failure)
        status = 529 if failure.code == "overloaded" else failure.status
        return status, {**failure.headers, "request-id": told["request_id"]}, told
    if path in _LLAMA:
        unable = failure.code == "not_supported"
        status, kind = (501, "not_supported_error") if unable else (failure.status, failure.type)
        return status, failure.headers, {"error": {**openai_error(failure), "type": kind, "code": status}}
    if path.startswith("/api/"):
        return failure.status, failure.headers, {"error": failure.message}
    return failure.status, failure.headers, {"error": openai_error(failure)}


def openai_error(failure: HttpFailure) -> dict[str, Any]:
    """OpenAI's four members; our facts beside them, which llama-server's clients look for there."""
    known = {"message": failure.message, "type": failure.type, "param": failure.param, "code": failure.code}
    return {**failure.facts, **known}


def anthropic_error(failure: HttpFailure, request_id: str | None = None) -> dict[str, Any]:
    """Claude Code shortens its conversation where the text begins as Anthropic's own does for a prompt that is too
    long, and gives up where it does not."""
    status, text = 529 if failure.code == "overloaded" else failure.status, failure.message
    if failure.code == "context_length_exceeded":
        counts = f"{failure.facts.get('n_prompt_tokens')} tokens > {failure.facts.get('n_ctx')} maximum"
        text = f"prompt is too long: {counts}; {text}"
    kind = _ANTHROPIC.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": text},
        "request_id": request_id or f"req_{secrets.token_hex(12)}",
    }
