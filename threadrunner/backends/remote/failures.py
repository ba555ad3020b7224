"""What goes wrong at a server, as an error of ours with its own kind: status, body and retry in, an ApiError out. Pure.

A server's words are shown, since they say best what it wants, but on one line, within a bound, and never with the key,
which some repeat.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from threadrunner.api.errors import (
    ApiError,
    ContextOverflow,
    InvalidGrammar,
    InvalidParams,
    ModelNotFound,
    NotSupported,
    Overloaded,
    RemoteFailed,
    RemoteRefused,
    RemoteUnreachable,
    Timeout,
)
from threadrunner.backends.base import RemoteServer
from threadrunner.backends.remote.chunks import count

MAX_BODY = 64 << 10
"""Bytes of an error's body that are read."""
MAX_WORDS = 400
"""Characters of a server's own text that are shown."""

AGAIN = (429, 503, 529)
"""Statuses after which the same request may succeed a little later."""

_KINDS: dict[int, type[ApiError]] = {
    **dict.fromkeys(AGAIN, Overloaded), 404: ModelNotFound, 405: NotSupported, 408: Timeout, 501: NotSupported,
    504: Timeout,
}  # fmt: skip
"""By status; others below 500 are faults of the request, those above it the server's."""

_BY_WORD: dict[str, type[ApiError]] = {"not_supported": NotSupported, "invalid_grammar": InvalidGrammar}
"""By the word that our own `serve` has for it."""

_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "insufficient_balance")
_OVERFLOW = re.compile(
    r"context (?:length|size|window)|maximum context|context_length_exceeded|exceed_context_size|prompt is too long|"
    r"too many tokens|input is too long",
    re.IGNORECASE,
)
# limit, then tokens: OpenAI and vLLM; tokens, then limit: Anthropic, and vLLM's newer words.
_LIMIT_FIRST = re.compile(
    r"maximum context length is (\d{1,10}) tokens.*?(?:resulted in|requested|contains at least) (\d{1,10})",
    re.IGNORECASE | re.DOTALL,
)
_TOKENS_FIRST = re.compile(r"(\d{1,10})(?: input)? tokens?\b[^\d]{0,60}?(\d{1,10})", re.IGNORECASE)


class ServerErrors:
    """Errors of one server."""

    def __init__(self, server: RemoteServer, host: str) -> None:
        self._server = server
        self._host = host

    def of_status(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        """For an answer that is an error."""
        kind, words, facts = self._read(body, headers.get("content-type", ""))
        facts |= {"host": self._host, "status": status}
        if 300 <= status < 400:
            return RemoteFailed(
                f"{self._host} sends us on to another address ({status}), which is not followed: the key must not go "
                "there. Set `url` to where it leads, if you trust that",
                **facts,
            )
        said = f"{self._host}: {words}" if words else f"{self._host} answered with status {status}"
        return self._made(status, kind, said, facts, retry_after(headers))

    def in_band(self, error: Any) -> ApiError:
        """For an error within a streamed answer."""
        kind, words, facts = _error_object(error)
        said = f"{self._host}: {self._clean(words) or 'the answer failed'}"
        facts |= {"host": self._host}
        status = error.get("code") if isinstance(error, dict) else None
        if isinstance(status, int) and 400 <= status < 600:
            facts["status"] = status
        if kind == "overloaded_error" or facts.get("status") in AGAIN:
            return Overloaded(said, **facts)
        if self._is_overflow(kind, words):
            return self._overflow(said, words, facts)
        return RemoteFailed(said, **facts)

    def unreachable(self, why: str) -> RemoteUnreachable:
        return RemoteUnreachable(
            f"{self._host} cannot be reached: {self._clean(why)}. Is the server running, and `url` in "
            f"[remotes.{self._server.name}] right?",
            host=self._host,
        )

    def unproven(self, why: str) -> RemoteUnreachable:
        """Its certificate is not vouched for."""
        return RemoteUnreachable(
            f"{self._host} cannot prove that it is what it says: {self._clean(why)}. If its certificate is your own, "
            f"name the file with it as `certificates` in [remotes.{self._server.name}]",
            host=self._host,
        )

    def timeout(self, why: str) -> Timeout:
        return Timeout(f"{self._host}: {why}", host=self._host)

    def _made(self, status: int, kind: str, said: str, facts: dict[str, Any], wait: float | None) -> ApiError:
        if status in (401, 402, 403) or kind in _QUOTA:
            about_money = kind in _QUOTA or status == 402
            advice = "" if about_money else f". `threadrunner remotes login {self._server.name}` replaces the key"
            return RemoteRefused(said + advice, **facts)
        if status in (400, 413, 422, 500) and self._is_overflow(kind, said):
            return self._overflow(said, said, facts)
        if status in AGAIN:
            facts |= {} if wait is None else {"retry_after": wait}
        if status == 404:
            said += f". `threadrunner remotes test {self._server.name}` lists its models"
        known = _BY_WORD.get(kind) or _KINDS.get(status, InvalidParams if status < 500 else RemoteFailed)
        return (NotSupported if "only supported for" in said else known)(said, **facts)

    @staticmethod
    def _is_overflow(kind: str, words: str) -> bool:
        return bool(_OVERFLOW.search(kind) or _OVERFLOW.search(words))

    @staticmethod
    def _overflow(said: str, words: str, facts: dict[str, Any]) -> ContextOverflow:
        tokens, limit = facts.pop("n_prompt_tokens", None), facts.pop("n_ctx", None)
        if not isinstance(tokens, int):
            if found := _LIMIT_FIRST.search(words):
                limit, tokens = int(found[1]), int(found[2])
            elif found := _TOKENS_FIRST.search(words):
                tokens, limit = int(found[1]), int(found[2])
        counts = {"prompt_tokens": count(tokens), "limit": count(limit)}
        return ContextOverflow(said, **facts, **{name: n for name, n in counts.items() if n})

    def _read(self, body: bytes, content_type: str) -> tuple[str, str, dict[str, Any]]:
        """The error's kind and words, and facts of it. A page or another text says nothing of use beyond its status,
        a line of plain text excepted."""
        try:
            value = json.loads(body.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            plain = body.decode("utf-8", "replace").strip()
            short = plain if "html" not in content_type and not plain.startswith("<") else ""
            return "", self._clean(short), {}
        if isinstance(value, dict):
            kind, words, facts = _error_object(value.get("error", value))
            return kind, self._clean(words), facts
        return "", "", {}

    def _clean(self, words: str) -> str:
        if self._server.key:
            words = words.replace(self._server.key, "…")
        words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
        return words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}…"


def _error_object(error: Any) -> tuple[str, str, dict[str, Any]]:
    if not isinstance(error, dict):
        return "", error if isinstance(error, str) else "", {}
    kinds = [str(error[name]) for name in ("code", "type") if isinstance(error.get(name), str)]
    words = error.get("message") or error.get("detail") or ""
    facts = {name: count(error[name]) for name in ("n_prompt_tokens", "n_ctx") if count(error.get(name))}
    telling = (kind for kind in kinds if kind in _QUOTA or kind in _BY_WORD or _OVERFLOW.search(kind))
    kind = next(telling, kinds[-1] if kinds else "")
    return kind, words if isinstance(words, str) else json.dumps(words), facts


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks us to wait; None where it does not say, or says it as a date."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86400 else None
