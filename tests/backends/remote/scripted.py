"""A server that answers by a script, byte for byte, and records all that it is asked: for what no good server does."""

from __future__ import annotations

import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.support import PATIENCE

HANG_UP = object()
"""In a reply's parts: close the connection here, in the midst."""
UNTIL_HUNG_UP = object()
"""In a reply's parts: send nothing until the client has hung up."""


class Recorded(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    data: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.data) if self.data else None


@dataclass
class Reply:
    """`parts` are written one after the other, each as a chunk of its own."""

    parts: Iterable[Any] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def event(value: Any) -> bytes:
    return b"data: " + (value.encode() if isinstance(value, str) else json.dumps(value).encode()) + b"\n\n"


def delta(finish: str | None = None, index: int = 0, **parts: Any) -> bytes:
    return event({"choices": [{"index": index, "delta": parts, "finish_reason": finish}]})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
DONE = event("[DONE]")


def stream(*parts: Any) -> Reply:
    return Reply(parts, headers={"content-type": "text/event-stream"})


def says(*words: str) -> Reply:
    """A good answer of these pieces."""
    return stream(*(delta(content=word) for word in words), delta("stop"), USAGE, DONE)


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    return Reply([json.dumps(value).encode()], status, {"content-type": "application/json", **headers})


def models(*names: str, owner: str = "someone", **more: Any) -> Reply:
    return as_json({"object": "list", "data": [{"id": name, "owned_by": owner, **more} for name in names]})


class ScriptedServer:
    """Listens on a port of its own. `answers` gives the reply to a request; `requests` has those that came."""

    def __init__(
        self,
        answers: Callable[[Recorded], Reply] | None = None,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.answers = answers or (lambda _: says("hello"))
        self.requests: list[Recorded] = []
        self.arrived: queue.Queue[Recorded] = queue.Queue()
        self.hung_up: queue.Queue[str] = queue.Queue()
        """Paths of answers that the client did not take to their end."""
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://{host}:{self.port}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def chats(self) -> list[Any]:
        """Bodies of what was asked, without the looks at the list of models."""
        return [request.body for request in self.requests if request.method == "POST"]

    def close(self) -> None:
        self._listener.close()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:  # the client does not like the certificate
                connection.close()
                return
        with connection, connection.makefile("rb") as file:
            try:
                while (request := _read(file)) is not None:
                    self.requests.append(request)
                    self.arrived.put(request)
                    if not self._write(connection, request):
                        return
            except OSError:
                return

    def _write(self, connection: socket.socket, request: Recorded) -> bool:
        """Whether the connection goes on."""
        reply = self.answers(request)
        head = {"transfer-encoding": "chunked", **reply.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        try:
            connection.sendall(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode())
            for part in reply.parts:
                if part is HANG_UP:
                    return False
                if part is UNTIL_HUNG_UP:
                    assert connection.recv(1) == b""
                    raise BrokenPipeError
                if part:
                    connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            connection.sendall(b"0\r\n\r\n")
        except OSError:
            self.hung_up.put(request.path)
            return False
        return True


def _read(file: Any) -> Recorded | None:
    first = file.readline().decode()
    if not first:
        return None
    if len(words := first.split()) != 3:  # what is left of a request that its client has given up
        return None
    method, path, _ = words
    headers = {}
    while (line := file.readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Recorded(method, path, headers, file.read(int(headers.get("content-length", 0))))
