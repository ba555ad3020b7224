"""The process: where it listens, who may reach it, its key, and the paths and methods that it knows."""

from __future__ import annotations

import http.client
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.served import Served
from threadrunner import exits
from threadrunner.http import keys, serve, sockets

PATH = "/v1/chat/completions"
HELLO = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}


def refused(served: Served, *arguments: str) -> str:
    """What `serve` says that does not begin."""
    command = [sys.executable, "-m", "threadrunner", "serve", *arguments]
    done = subprocess.run(command, env=served.daemon.env, capture_output=True, text=True)
    assert done.returncode == exits.CONNECTION and done.stdout == "", done
    return done.stderr


def test_a_port_that_is_taken_and_an_address_for_all(served: Served) -> None:
    said = refused(served, "--port", str(served.port))
    assert f"port {served.port} of 127.0.0.1 is taken" in said and "--port" in said
    with pytest.MonkeyPatch.context() as patch, pytest.raises(sockets.CannotListen) as error:
        patch.setenv("THREADRUNNER_HOME", str(served.daemon.home / "none"))
        serve._prepared(serve.ServeOptions("0.0.0.0", 0))
    assert "can be reached from other machines" in str(error.value) and "--key auto" in str(error.value)


def test_what_cannot_be_listened_on_and_bad_keys(served: Served, tmp_path: Path) -> None:
    for host in ("no.such.host.invalid", "192.0.2.1"):
        with pytest.raises(sockets.CannotListen, match="cannot listen on"):
            sockets.on_port(host, 0)
    plain = tmp_path / "plain"
    plain.touch()
    for path, says in ((str(plain), "is no socket"), (f"/tmp/{'x' * 200}", "too long"), ("/no/such/x", "No such")):
        with pytest.raises(sockets.CannotListen, match=says):
            sockets.on_path(path)
    assert plain.exists()
    for key in ("short", "with blanks in it", "schlüssel-lang"):
        with pytest.raises(keys.BadKey):
            keys.read(key)


def test_which_addresses_only_this_machine_reaches() -> None:
    assert all(map(sockets.is_local, ("localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(sockets.is_local, ("0.0.0.0", "::", "192.168.1.2", "example.com", "localhost.evil.com")))


@pytest.fixture(scope="module")
def keyed(served: Served) -> Iterator[Served]:
    """One that asks for a key, and lets a page ask."""
    other = Served(served.daemon, "--key", "auto", "--allow-origin", "https://chat.example")
    yield other
    assert other.close() == 0


def test_a_key_that_is_made(served: Served, keyed: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    file = served.daemon.home / "serve.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text().strip()
    assert len(key) > 24 and key not in "".join(keyed.said)
    assert keyed.get("/health").status == 200
    assert keyed.post(PATH, HELLO).status == 401 and keyed.get("/props").status == 401
    assert keyed.post(PATH, HELLO, Authorization="Bearer wrong").status == 401
    for name, value in (("Authorization", f"Bearer {key}"), ("x-api-key", key), ("api-key", key)):
        assert keyed.post(PATH, HELLO, **{name: value}).status == 200
    monkeypatch.setenv("THREADRUNNER_HOME", str(served.daemon.home))
    assert keys.read("auto") == key
    file.chmod(0o644)
    with pytest.raises(keys.BadKey, match="others can read"):
        keys.read("auto")
    file.chmod(0o600)
    file.write_text("")
    with pytest.raises(keys.BadKey, match="is empty"):
        keys.read("auto")
    file.write_text(f"{key}\n")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def test_a_socket_of_its_own(served: Served) -> None:
    path = str(served.daemon.home / "http.sock")
    with socket.socket(socket.AF_UNIX) as left:  # by a process that was killed
        left.bind(path)
    other = Served(served.daemon, "--socket", path)
    try:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        connection = _UnixConnection(path)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
        with pytest.raises(sockets.CannotListen, match="another program listens"):
            sockets.on_path(path)
    finally:
        assert other.close() == 0
    assert not os.path.exists(path)


def _paths(served: Served) -> dict[str, set[str]]:
    from threadrunner.http.app import DIALECTS
    from threadrunner.http.gateway import Gateway

    class _NoDaemon:
        async def request(self, method: str, params: dict[str, Any], notice: Any = None) -> Any: ...

    gateway = Gateway(_NoDaemon())
    routes = [route for dialect in DIALECTS for route in dialect.routes(gateway)]
    methods: dict[str, set[str]] = {}
    for route in routes:
        if "{" not in route.path:
            methods.setdefault(route.path, set()).update(route.methods or ())
    return methods


def test_head_and_options_everywhere(served: Served) -> None:
    paths = _paths(served)
    assert len(paths) > 15
    for path, methods in paths.items():
        options = served.ask("OPTIONS", path)
        assert options.status == 204 and options.body == b"", path
        head = served.ask("HEAD", path)
        assert head.body == b"", path
        if "GET" not in methods:
            assert head.status == 405 and methods & set(head.headers["allow"].split(", ")), path


def test_names_with_slashes_and_colons_reach_the_lookup(served: Served) -> None:
    for query in ("hf:owner/repo:Q4", "hf%3Aowner%2Frepo%3AQ4"):
        answer = served.get(f"/props?model={query}")
        assert answer.status == 404 and "'hf:owner/repo:Q4'" in answer.json["error"]["message"]


def test_a_path_and_a_method_that_are_not_there(served: Served) -> None:
    answer = served.get("/v1/nothing")
    assert answer.status == 404 and "docs/http.md" in answer.json["error"]["message"]
    assert served.get(PATH).status == 405


def test_what_every_answer_has_and_has_not(served: Served) -> None:
    for answer in (served.get("/health"), served.post(PATH, HELLO), served.get("/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not {"server", "date", "access-control-allow-origin"} & set(answer.headers)


def test_an_allowed_origin_is_told_so_to_the_letter(served: Served, keyed: Served) -> None:
    origin = {"Origin": "https://chat.example"}
    asked = {"Access-Control-Request-Headers": "Authorization, Content-Type, X-Stainless-Lang, Cookie"}
    preflight = keyed.ask("OPTIONS", PATH, None, {**origin, **asked})
    assert preflight.headers["access-control-allow-origin"] == "https://chat.example"
    assert preflight.headers["access-control-allow-headers"] == "authorization, content-type, x-stainless-lang"
    assert "access-control-allow-credentials" not in preflight.headers
    key = {"x-api-key": (served.daemon.home / "serve.key").read_text().strip()}
    answer = keyed.post(PATH, HELLO, **origin, **key)
    assert answer.status == 200 and answer.headers["vary"] == "Origin"
    assert answer.headers["access-control-allow-origin"] == "https://chat.example"
    assert keyed.post(PATH, HELLO, Origin="https://evil.example", **key).status == 403


def test_a_body_over_the_limit_and_one_at_it(served: Served) -> None:
    text = b'{"content": "' + b"x" * ((15 << 20) - 15) + b'"}'
    assert len(text) == 15 << 20
    assert "input_prefix" in served.ask("POST", "/infill", text).json["error"]["message"], "it was read"
    answer = served.ask("POST", "/tokenize", text + b" ")
    assert answer.status == 413 and answer.json["error"]["type"] == "invalid_request_error"
    assert served.ask("POST", "/tokenize", b"x", {"X-Long": "y" * (17 << 10)}).status == 400
