"""A real `threadrunner serve` on a port of its own, in front of a daemon, and a plain client for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from tests.support import PATIENCE, Daemon

JSON = {"Content-Type": "application/json"}


class Reply:
    """A whole answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of server-sent events, `[DONE]` as a text; comments are left out."""
        lines = [line.removeprefix("data: ") for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


class Served:
    """The two processes. `daemon` is the daemon's; `extra` are arguments of `serve`."""

    def __init__(self, daemon: Daemon, *extra: str) -> None:
        self.daemon = daemon
        self.process = subprocess.Popen(
            [sys.executable, "-m", "threadrunner", "serve", "--port", "0", *extra],
            env=daemon.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        first = self.process.stderr.readline()
        self.url = next((word for word in first.split() if word.startswith("http")), first)
        self.port = int(self.url.rpartition(":")[2]) if self.url.startswith("http") else 0
        self.said = [first]
        threading.Thread(target=lambda: self.said.extend(self.process.stderr or ()), daemon=True).start()

    def open(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """`body` is sent as JSON, or as it is where it is bytes."""
        connection = self.open()
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, {**(JSON if data is not None else {}), **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.ask("POST", path, body, headers)

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, headers)

    def close(self) -> int:
        """The exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        if self.process.stderr:
            self.process.stderr.close()
        return code


def serving(*extra: str, config: str = "", **env: str) -> Iterator[Served]:
    """For fixtures: a daemon with the dummy backend, unless `env` says otherwise, and `serve` before it; `config`: what
    config.toml says."""
    daemon = Daemon(**env)
    (daemon.home / "config.toml").write_text(config)
    yield from listening(daemon, *extra)


def listening(daemon: Daemon, *extra: str) -> Iterator[Served]:
    """For fixtures: `serve` before this daemon, which is started and ended."""
    served = Served(daemon.start(), *extra)
    try:
        yield served
    finally:
        served.close()
        daemon.close()


@contextlib.contextmanager
def sse(served: Served, path: str, body: Any = None, **headers: str) -> Iterator[Iterator[Any]]:
    """The events of an answer that is not at its end, once its head is there; the connection is closed behind it."""
    connection = served.open()
    data = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, data, {**headers, **(JSON if body is not None else {})})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    try:
        yield _events(response)
    finally:
        response.close()
        connection.close()


def _events(response: http.client.HTTPResponse) -> Iterator[Any]:
    while line := response.readline():
        if line.startswith(b"data: {"):
            yield json.loads(line.removeprefix(b"data: "))
