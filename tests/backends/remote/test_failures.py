"""Statuses and bodies of many servers, as errors with their own kind; and which are tried again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from threadrunner import exits
from threadrunner.api.errors import ApiError, ContextOverflow, Overloaded, RemoteUnreachable
from threadrunner.backends.base import RemoteServer
from threadrunner.backends.remote import retries
from threadrunner.backends.remote.failures import ServerErrors

KEY = "sk-very-secret"
ERRORS = ServerErrors(RemoteServer(name="box", url="https://box.example/v1", key=KEY), "box.example")


def of(status: int, body: Any = b"", content_type: str = "application/json", **headers: str) -> ApiError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ERRORS.of_status(status, {"content-type": content_type, **headers}, data)


def error(**members: Any) -> dict[str, Any]:
    return {"error": members}


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, error(message="bad key"), "RemoteRefused", exits.MODEL),
        (403, {}, "RemoteRefused", exits.MODEL),
        (402, error(message="pay"), "RemoteRefused", exits.MODEL),
        (429, error(code="insufficient_quota", message="no credit"), "RemoteRefused", exits.MODEL),
        (429, error(message="slow down"), "Overloaded", exits.CONNECTION),
        (503, error(message="Loading model", type="unavailable_error"), "Overloaded", exits.CONNECTION),
        (529, {"type": "error", "error": {"type": "overloaded_error"}}, "Overloaded", exits.CONNECTION),
        (404, error(message="no such model"), "ModelNotFound", exits.MODEL),
        (400, error(message="bad temperature"), "InvalidParams", exits.USAGE),
        (422, {"detail": [{"msg": "no"}]}, "InvalidParams", exits.USAGE),
        (501, error(message="no embeddings"), "NotSupported", exits.MODEL),
        (400, error(message="suffix is only supported for models with FIM"), "NotSupported", exits.MODEL),
        (500, error(message="oh"), "RemoteFailed", exits.MODEL),
        (502, {}, "RemoteFailed", exits.MODEL),
        (504, {}, "Timeout", exits.TIMEOUT),
        (408, {}, "Timeout", exits.TIMEOUT),
        (301, {}, "RemoteFailed", exits.MODEL),
    ],
)  # fmt: skip
def test_statuses(status: int, body: Any, kind: str, code: int) -> None:
    made = of(status, body)
    assert (made.kind, exits.for_kind(made.kind)) == (kind, code)
    assert made.facts["host"] == "box.example"
    assert "box.example" in made.message


@pytest.mark.parametrize(
    ("status", "body", "tokens", "limit"),
    [
        (400, error(type="exceed_context_size_error", message="too large", n_prompt_tokens=50, n_ctx=40), 50, 40),
        (400, error(message="This model's maximum context length is 8192 tokens. However, your messages resulted in "
                    "9001 tokens.", code="context_length_exceeded"), 9001, 8192),
        (400, error(message="This model's maximum context length is 2048 tokens. However, you requested 2100 tokens "
                    "(2000 in the messages, 100 in the completion)."), 2100, 2048),
        (400, {"type": "error", "error": {"type": "invalid_request_error",
               "message": "prompt is too long: 210000 tokens > 200000 maximum"}}, 210000, 200000),
        (500, error(message="the context size is exceeded"), None, None),
    ],
)  # fmt: skip
def test_a_prompt_that_does_not_fit_has_both_counts(
    status: int, body: Any, tokens: int | None, limit: int | None
) -> None:
    made = of(status, body)
    assert isinstance(made, ContextOverflow)
    assert (made.facts.get("prompt_tokens"), made.facts.get("limit")) == (tokens, limit)


def test_a_page_and_a_line_of_text() -> None:
    page = of(502, b"<html><body>Bad <b>Gateway</b></body></html>", "text/html")
    assert page.message == "box.example answered with status 502"
    assert "replica is gone" in of(500, b"replica is gone\n", "text/plain").message
    assert of(500, b"\xff\xfe", "text/plain").kind == "RemoteFailed"
    assert of(500, b"[" * 100_000).kind == "RemoteFailed"


def test_words_are_short_on_one_line_and_never_have_the_key() -> None:
    made = of(401, error(message=f"Incorrect API key: {KEY}.\n\x1b[31m" + "x" * 10_000))
    assert KEY not in made.message + str(made.data)
    assert "\n" not in made.message
    assert "\x1b" not in made.message
    assert len(made.message) < 600
    assert "remotes login box" in made.message
    assert KEY not in repr(RemoteServer(name="box", url="u", key=KEY))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"message": "no luck", "code": 500}, "RemoteFailed"),
        ("just a text", "RemoteFailed"),
        ({"type": "overloaded_error", "message": "busy"}, "Overloaded"),
        ({"message": "x", "code": 503}, "Overloaded"),
        ({"message": "maximum context length is 10 tokens, requested 20"}, "ContextOverflow"),
        ({"message": f"the key {KEY} is odd"}, "RemoteFailed"),
    ],
)
def test_errors_within_a_stream(said: Any, kind: str) -> None:
    made = ERRORS.in_band(said)
    assert made.kind == kind
    assert KEY not in made.message


def test_what_is_tried_again_and_when() -> None:
    busy, gone = Overloaded("busy"), RemoteUnreachable("gone")
    inf = float("inf")
    assert retries.pause(busy, 1, inf, connecting=False) == 0.5
    assert retries.pause(busy, 2, inf, connecting=False) == 1.5
    assert retries.pause(busy, 3, inf, connecting=False) is None
    assert retries.pause(gone, 1, inf, connecting=True) == 0.5
    assert retries.pause(gone, 1, inf, connecting=False) is None  # it may have begun to answer
    assert retries.pause(of(500, {}), 1, inf, connecting=False) is None
    asked = of(429, error(message="wait"), **{"retry-after": "3"})
    assert asked.facts["retry_after"] == 3
    assert retries.pause(asked, 1, inf, connecting=False) == 3
    assert retries.pause(asked, 1, 2.0, connecting=False) is None  # the request has less time
    assert retries.pause(of(429, {}, **{"retry-after": "600"}), 1, inf, connecting=False) is None
    assert "retry_after" not in of(429, {}, **{"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}).facts
