"""A Hugging Face hub of the tests' own: real HTTP, the hub's paths, and connections that break on request."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """`files` by repository and name. `cuts`: after that many bytes each of the next answers with a file breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.token = ""
        self.gated = False
        self.cuts: list[int] = []
        self.ranges: list[str] = []
        self.served = 0
        self.swapped: dict[str, bytes] = {}
        """What is sent in place of a file, under the file's own sum."""
        self.ignores_ranges = False
        self.elsewhere = False
        """Files are on another host, as the real hub's are."""
        self.strangers_saw: list[str | None] = []
        """The Authorization header of each request to that other host."""
        self.asked = threading.Event()
        self.again = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.free = 0
        """This number of requests for files is answered even while `go` is not set."""
        self.refusal: tuple[int, str] | None = None
        """Status and X-Error-Code that every file is refused with, while the list of files is open to everybody."""
        self.status: tuple[int, str] | None = None
        """The same for every request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sha256(self, repo: str, name: str) -> str:
        return hashlib.sha256(self.files[repo][name]).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        stranger = self.headers["Host"].startswith("localhost")
        if stranger:
            self.server.strangers_saw.append(self.headers.get("Authorization"))
        if self.server.status:
            self._error(*self.server.status)
        elif not stranger and self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            if self.server.gated:
                self._error(403, "GatedRepo")
            else:
                self._error(401, "RepoNotFound")
        elif path == "/api/models":
            self._listed()
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            self._about(match[1])
        elif match := re.fullmatch(rf"/([^/]+/[^/]+)/resolve/{COMMIT}/(.+)", path):
            if self.server.refusal:
                self._error(*self.server.refusal)
            elif self.server.elsewhere and not stranger:
                self._error(302, "", Location=f"http://localhost:{self.server.server_port}{self.path}")
            else:
                self._file(match[1], match[2])
        else:
            self._error(404, "EntryNotFound")

    do_HEAD = do_GET

    def _listed(self) -> None:
        asked = parse_qs(self.path.partition("?")[2])
        assert asked["filter"] == ["gguf"]
        repos = [repo for repo in self.server.files if asked["search"][0].lower() in repo.lower()]
        models = [
            {"_id": repo, "id": repo, "modelId": repo, "private": False, "tags": ["gguf"], "downloads": 1234567,
             "likes": 89, "lastModified": "2026-10-01T12:00:00.000Z", "createdAt": "2026-10-01T12:00:00.000Z"}
            for repo in repos
        ]  # fmt: skip
        self._answer(200, json.dumps(models).encode(), {"Content-Type": "application/json"})

    def _about(self, repo: str) -> None:
        if repo not in self.server.files:
            self._error(404, "RepoNotFound")
            return
        siblings: list[dict[str, Any]] = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": "0" * 40,
                "lfs": {"sha256": self.server.sha256(repo, name), "size": len(data), "pointerSize": 134},
            }
            for name, data in self.server.files[repo].items()
        ]
        about = {"_id": "1", "id": repo, "modelId": repo, "sha": COMMIT, "private": False, "siblings": siblings,
                 "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
        self._answer(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _file(self, repo: str, name: str) -> None:
        data = self.server.swapped.get(name, self.server.files[repo][name])
        asked = self.headers.get("Range", "")
        self.server.ranges.append(f"{name} {asked}")
        (self.server.again if self.server.asked.is_set() else self.server.asked).set()
        if len(self.server.ranges) > self.server.free:
            self.server.go.wait(60)
        start = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", asked)) else 0
        if self.server.ignores_ranges:
            start, asked = 0, ""
        if asked and start >= len(data):
            self._error(416, "")
            return
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if asked else {}
        self._answer(206 if asked else 200, data[start:], headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "X-Repo-Commit": COMMIT}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if "resolve" in self.path and self.server.cuts:
            body = body[: self.server.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(body)
        if "resolve" in self.path:
            self.server.served += len(body)

    def _error(self, status: int, code: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.go.set()
        server.shutdown()
        thread.join()
        server.server_close()
