"""Who may ask: tables over a pure function."""

from __future__ import annotations

import pytest

from threadrunner.http import policy
from threadrunner.http.keys import Keys
from threadrunner.http.policy import Head, Policy

OPEN = Policy(8765)
WIDE = Policy(8765, frozenset({"box.local", "box.example:8443"}), frozenset({"https://chat.example"}))
KEYED = Policy(8765, who=Keys("secret-key", "/none").holder)
PATH = "/v1/chat/completions"
LOCAL = ("host", "localhost:8765")
JSON = [("content-type", "application/json"), ("content-length", "2")]


def refused(rules: Policy, *headers: tuple[str, str], method: str = "POST", path: str = PATH) -> int:
    """The status; 0: it is answered."""
    failure = policy.refusal(rules, Head(method, path, headers))
    return failure.status if failure else 0


HOSTS = {
    "localhost": True, "localhost:8765": True, "LocalHost:8765": True, "127.0.0.1": True, "127.0.0.1:8765": True,
    "[::1]": True, "[::1]:8765": True, "app.localhost": True, "a.b.LOCALHOST:8765": True,
    "localhost:80": False, "localhost:87650": False, "[::1]:80": False, "evil.com": False, "evil.com:8765": False,
    "localhost.evil.com": False, "localhost.evil.com:8765": False, "evil.com:8765@localhost": False, "": False,
    "127.0.0.1.evil.com": False, "127.0.0.2": False, "0.0.0.0:8765": False, "notlocalhost": False,
    "box.local": False, "[::1].evil.com": False, "[::2]": False, "localhost:": False, "localhost:8765:8765": False,
    "localhost:8765 ": False, "localhost.": False, "localhost/": False, "localhost,evil.com": False,
    "localhost:٨٧٦٥": False, ".localhost": True, "2130706433": False, "127.1": False, "::1": False,
}  # fmt: skip
"""A Host header, and whether it is ours."""


@pytest.mark.parametrize(("host", "ours"), HOSTS.items())
def test_a_name_that_is_not_ours_is_misdirected(host: str, ours: bool) -> None:
    for method in ("GET", "POST", "OPTIONS", "HEAD", "DELETE"):
        assert refused(OPEN, ("host", host), method=method) == (0 if ours else 421)


def test_there_is_exactly_one_host() -> None:
    assert refused(OPEN, method="GET") == 421
    assert refused(OPEN, LOCAL, LOCAL, method="GET") == 421
    assert refused(OPEN, LOCAL, ("host", "evil.com"), method="GET") == 421


def test_a_name_may_be_added_and_a_socket_has_none() -> None:
    assert refused(WIDE, ("host", "box.local:8765"), method="GET") == 0
    assert refused(WIDE, ("host", "x.box.local"), method="GET") == 421
    for host, status in (("Box.example:8443", 0), ("box.example", 421), ("box.example:8765", 421)):
        assert refused(WIDE, ("host", host), method="GET") == status
    assert refused(Policy(None), ("host", "whatever"), method="GET") == 0


ORIGINS = {
    "http://localhost:8765": 0, "https://localhost:8765": 0,
    "null": 403, "http://localhost": 403, "http://localhost:80": 403, "http://127.0.0.1:8765": 403, "": 403,
    "http://evil.com": 403, "http://localhost:8765.evil.com": 403, "HTTP://LOCALHOST:8765": 403, "file://": 403,
    "http://localhost:8765/": 403, "http://evil.com, http://localhost:8765": 403, "*": 403,
    "vscode-webview://abc": 403, "https://chat.example": 403,
}  # fmt: skip


@pytest.mark.parametrize(("origin", "status"), ORIGINS.items())
def test_a_page_of_another_origin_is_refused_whatever_it_does(origin: str, status: int) -> None:
    for method in ("GET", "POST", "OPTIONS", "HEAD", "DELETE"):
        assert refused(OPEN, LOCAL, ("origin", origin), *JSON, method=method) == status
    assert refused(OPEN, LOCAL, ("origin", origin), method="GET", path="/health") == status


def test_an_origin_may_be_allowed_by_its_whole_name() -> None:
    for origin, status in (
        ("https://chat.example", 0), ("http://chat.example", 403), ("https://chat.example:443", 403),
        ("https://chat.example.evil.com", 403), ("https://achat.example", 403),
    ):  # fmt: skip
        assert refused(WIDE, LOCAL, ("origin", origin), *JSON) == status
        head = Head("POST", PATH, [LOCAL, ("origin", origin)])
        assert policy.shared_with(WIDE, head) == (None if status else origin)
    assert refused(WIDE, LOCAL, ("origin", "https://chat.example"), ("origin", "https://chat.example"), *JSON) == 403


SITES = {"cross-site": 403, "same-site": 403, "same-origin": 0, "none": 0}


@pytest.mark.parametrize(("site", "status"), SITES.items())
def test_what_a_browser_says_of_the_site_counts_without_an_origin(site: str, status: int) -> None:
    assert refused(OPEN, LOCAL, ("sec-fetch-site", site), method="GET", path="/v1/models") == status


def test_a_link_to_the_page_may_be_followed_and_to_nothing_else() -> None:
    visit = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]
    assert refused(OPEN, LOCAL, *visit, method="GET", path="/") == 0
    assert refused(OPEN, LOCAL, *visit, method="GET", path="/v1/models") == 403
    assert refused(OPEN, LOCAL, *visit, *JSON, method="POST", path="/") == 403
    framed = [visit[0], visit[1], ("sec-fetch-dest", "iframe")]
    assert refused(OPEN, LOCAL, *framed, method="GET", path="/") == 403


KEYS = {
    ("authorization", "Bearer secret-key"): 0, ("authorization", "bearer  secret-key"): 0,
    ("x-api-key", "secret-key"): 0, ("api-key", "secret-key"): 0,
    ("authorization", "secret-key"): 401, ("authorization", "Basic secret-key"): 401, ("authorization", "Bearer"): 401,
    ("authorization", "Bearer "): 401, ("x-api-key", "secret-ke"): 401, ("x-api-key", "secret-key2"): 401,
    ("x-api-key", "SECRET-KEY"): 401, ("cookie", "key=secret-key"): 401, ("authorization", "Bearer schlüssel"): 401,
}  # fmt: skip


@pytest.mark.parametrize(("header", "status"), KEYS.items())
def test_a_key(header: tuple[str, str], status: int) -> None:
    assert refused(KEYED, LOCAL, header, *JSON) == status
    assert refused(OPEN, LOCAL, header, *JSON) == 0, "where none is asked for, any is taken"


def test_what_needs_no_key() -> None:
    for path in ("/", "/health", "/v1/health", "/ready", "/page/x.js", "/manifest.webmanifest"):
        assert refused(KEYED, LOCAL, method="GET", path=path) == 0
    for path in ("/v1/models", "/health/", "/pagex", "/props", "//health", "/metrics"):
        assert refused(KEYED, LOCAL, method="GET", path=path) == 401
    assert refused(KEYED, LOCAL, method="OPTIONS") == 0


def test_what_takes_a_place_of_its_key() -> None:
    for path in ("/v1/chat/completions", "/api/embed", "/infill", "/ui/api/turn"):
        assert policy.takes_place(Head("POST", path, ()))
    for method, path in (("GET", "/v1/models"), ("GET", "/models/sse"), ("POST", "/ui/api/events"),
                         ("POST", "/ui/api/sessions.list")):  # fmt: skip
        assert not policy.takes_place(Head(method, path, ()))


KINDS = {
    "application/json": 0, "application/json; charset=utf-8": 0, "Application/JSON": 0,
    "text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "": 415,
    "text/plain; application/json": 415, "application/jsonp": 415,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "status"), KINDS.items())
def test_a_body_is_json_by_its_head(kind: str, status: int) -> None:
    """A browser asks before a page may send it: what it may send without asking is refused."""
    for length in (("content-length", "2"), ("transfer-encoding", "chunked")):
        assert refused(OPEN, LOCAL, ("content-type", kind), length) == status
    assert refused(OPEN, LOCAL, ("content-length", "2")) == 415


def test_ollamas_own_lines_send_a_form_but_no_page_may() -> None:
    form = [("content-type", "application/x-www-form-urlencoded"), ("content-length", "2")]
    assert refused(OPEN, LOCAL, *form, path="/api/chat") == 0
    assert refused(OPEN, LOCAL, *form, ("sec-fetch-site", "none"), path="/api/chat") == 415
    assert refused(OPEN, LOCAL, *form, ("origin", "http://localhost:8765"), path="/api/chat") == 415
