"""Who may ask, decided from a request's head alone: pure.

A port on the loopback is open to every page in the user's browser and to every user of the machine. A page is kept out
by what it cannot choose: the Host it reached us by (a name of its own, rebound to 127.0.0.1, is not ours), its Origin,
and that a browser asks us before it sends JSON for a page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from threadrunner.http.failures import HttpFailure
from threadrunner.http.keys import Holder

PUBLIC = ("/", "/health", "/v1/health", "/ready", "/manifest.webmanifest", "/favicon.ico")
"""Paths that need no key: they say nothing of models or conversations. So does what is under `/page/`."""

ALLOWED_HEADERS = (
    "authorization", "content-type", "x-api-key", "api-key", "anthropic-version", "anthropic-beta",
    "anthropic-dangerous-direct-browser-access", "http-referer", "x-title",
)  # fmt: skip
"""That a preflight may ask for, and all `x-stainless-…`: clients broke where Authorization was missing."""

_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Head:
    """A request's method, path, and headers with small names, in their order."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def one(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True)
class Policy:
    """`port` None: a Unix socket, which no page reaches. `hosts` are names beside the local ones, each with our port or
    with its own; `origins` are whole, as `https://chat.example`. `who` says whose a key is; it is None where no key is
    asked for."""

    port: int | None
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    who: Callable[[str], Holder | None] | None = None
    how_host: str = "`threadrunner serve --allow-host NAME` adds a name"
    """What a refusal says of how to allow it; so is the next one."""
    how_origin: str = "`threadrunner serve --allow-origin ORIGIN` allows one"


def refusal(policy: Policy, head: Head) -> HttpFailure | None:
    """Why this request is not answered; None where it is."""
    return _host(policy, head) or _origin(policy, head) or _key(policy, head) or _content(head)


def holder(policy: Policy, head: Head) -> Holder | None:
    """Whose key a request has, where one is asked for."""
    if policy.who is None:
        return None
    scheme, _, token = (head.one("authorization") or "").partition(" ")
    given = [token.strip()] if scheme.lower() == "bearer" else []
    given += [value for name in ("x-api-key", "api-key") if (value := head.one(name))]
    return next((holder for key in given if (holder := policy.who(key)) is not None), None)


def shared_with(policy: Policy, head: Head) -> str | None:
    """The Origin that may read the answer, to be repeated in its headers; None: no other."""
    origin = head.one("origin")
    return origin if origin in policy.origins else None


def _host(policy: Policy, head: Head) -> HttpFailure | None:
    if policy.port is None:
        return None
    given = head.all("host")
    if len(given) == 1:
        name, _, port = given[0].lower().rpartition(":") if _has_port(given[0]) else (given[0].lower(), "", "")
        known = name in _LOCAL or name.endswith(".localhost") or name in policy.hosts
        if (known and port in ("", str(policy.port))) or given[0].lower() in policy.hosts:
            return None
    text = f"this server answers to names that it knows only, on its own port; {policy.how_host}"
    return HttpFailure(421, "invalid_request_error", text, "unknown_host")


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdecimal() and not (host.startswith("[") and host.endswith("]"))


def _origin(policy: Policy, head: Head) -> HttpFailure | None:
    origins = head.all("origin")
    if not origins:
        site = head.one("sec-fetch-site")
        if site not in ("cross-site", "same-site") or _visits_page(head):
            return None
    elif len(origins) == 1 and (origins[0] in policy.origins or _own(head, origins[0])):
        return None
    shown = origins[0][:200] if origins else "another site"
    text = f"a page of {shown} may not ask here; {policy.how_origin}"
    return HttpFailure(403, "permission_error", text, "origin_not_allowed")


def _own(head: Head, origin: str) -> bool:
    """Whether it is our own page's: what `_host` has let through is a name of ours."""
    return origin == f"http://{head.one('host')}" or origin == f"https://{head.one('host')}"


def _visits_page(head: Head) -> bool:
    """A link from elsewhere to our page, which is followed by a person and gives nothing to the page it is on."""
    navigates = head.one("sec-fetch-mode") == "navigate" and head.one("sec-fetch-dest") == "document"
    return head.method == "GET" and head.path == "/" and navigates


def _key(policy: Policy, head: Head) -> HttpFailure | None:
    """SDKs insist on sending some key, so any is taken where none is asked for. A preflight has none."""
    if policy.who is None or public(head.path) or head.method == "OPTIONS" or holder(policy, head) is not None:
        return None
    text = "this server asks for a key: send it as `Authorization: Bearer KEY`"
    return HttpFailure(401, "authentication_error", text, "invalid_api_key", headers={"www-authenticate": "Bearer"})


def public(path: str) -> bool:
    """Whether it needs no key."""
    return path in PUBLIC or path.startswith("/page/")


def takes_place(head: Head) -> bool:
    """Whether it may have a model work, and so counts among those of its key that are under way: neither what is only
    read, nor what the page asks beside its prompts, nor streams of news do."""
    return head.method == "POST" and (not head.path.startswith("/ui/api/") or head.path == "/ui/api/turn")


def _content(head: Head) -> HttpFailure | None:
    """A page can send forms and plain text to any server without asking; JSON makes the browser ask first. The lines in
    Ollama's documentation let curl say that it sends a form, and curl says nothing of a page."""
    length = head.one("content-length")
    has_body = (length is not None and length != "0") or head.one("transfer-encoding") is not None
    if head.method in ("GET", "HEAD", "OPTIONS") or not has_body:
        return None
    kind = (head.one("content-type") or "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return None
    browser = any(name == "origin" or name.startswith("sec-fetch-") for name, _ in head.headers)
    if head.path.startswith("/api/") and not browser:
        return None
    return HttpFailure(415, "invalid_request_error", "send `Content-Type: application/json`", "unsupported_media_type")
