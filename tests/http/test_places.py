"""How many requests a key may have under way, and when one has ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import python_path
from tests.http.served import JSON, Reply, Served, listening, sse
from tests.http.test_hangups import PATH, chat, until
from tests.support import PATIENCE, Daemon
from threadrunner.client import named_keys
from threadrunner.client.named_keys import NamedKey


class Keyed:
    """`serve` before a backend whose answers never end, asked by a key that may have one request under way."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.headers = {"Authorization": "Bearer one-at-once-of-the-suite"}

    def open(self) -> http.client.HTTPConnection:
        return self.served.open()

    def post(self, text: str, **more: Any) -> Reply:
        return self.served.post(PATH, chat(text, **more), **self.headers)

    def stream(self, text: str) -> contextlib.AbstractContextManager[Iterator[Any]]:
        return sse(self.served, PATH, chat(text, stream=True), **self.headers)

    def until_free(self) -> None:
        """The place is given back soon after its request has ended."""
        end = time.monotonic() + PATIENCE
        while (answer := self.post("x")).status != 200:
            assert answer.status == 429 and time.monotonic() < end, answer.body


@pytest.fixture(scope="module")
def keyed(plugin: Path) -> Iterator[Keyed]:
    daemon = Daemon(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THREADRUNNER_HOME", str(daemon.home))
        digest = named_keys.digest("one-at-once-of-the-suite")
        named_keys.add(NamedKey("one", "", digest, may=("conversations", "metrics"), at_once=1))
    for served in listening(daemon):
        yield Keyed(served)


def test_a_key_has_as_many_requests_at_once_as_it_may(keyed: Keyed) -> None:
    with keyed.stream("drip") as dropped:
        next(dropped)
        refused = keyed.post("x")
        assert refused.status == 429 and refused.headers["retry-after"] == "1"
        assert "may have 1 requests under way at once" in refused.json["error"]["message"]
        assert keyed.served.get("/v1/models", **keyed.headers).status == 200  # which no model works for
        assert keyed.served.post("/ui/api/sessions.list", {}, **keyed.headers).status == 200
        told = keyed.served.get("/metrics", **keyed.headers).body.decode()
        assert 'threadrunner_http_key_refused_total{key="one",limit="at_once"} 1' in told
    keyed.until_free()  # it was hung up on
    for _ in range(3):  # each gives it back, however it ends, or none after it were answered
        assert keyed.post("x").status == 200
        assert keyed.post("x", model="no-such-model").status == 404
        assert keyed.post("x", temperature="hot").status == 400


def test_an_answer_that_outlives_its_request_keeps_the_place(keyed: Keyed) -> None:
    """A tab that is closed leaves the page's answer running for a while."""
    connection = keyed.open()
    connection.request("POST", "/ui/api/turn", json.dumps({"prompt": "drip", "session": "long"}), JSON | keyed.headers)
    response = connection.getresponse()
    response.readline(), response.readline()
    response.close(), connection.close()
    until(keyed.served.daemon.wire(), active=1)
    assert [keyed.post("x").status for _ in range(20)] == [429] * 20
    assert keyed.served.post("/ui/api/stop", {"session": "long"}, **keyed.headers).status == 200
    keyed.until_free()
