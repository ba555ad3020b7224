"""A daemon that says what a test wants it to say: a real socket, our wire, no model.

It is also how slow answers, cancels that must be counted and a daemon that dies in mid-request are made, which a real
one does not do on demand.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import PATIENCE

USAGE = {"prompt_tokens": 100, "cached_tokens": 98, "completion_tokens": 5}
Says = Callable[[dict[str, Any]], "str | list[str] | dict[str, Any] | Exception"]


@dataclass
class Seen:
    """A request as it came, and what became of it: open, answered, cancelled or failed."""

    id: int
    method: str
    params: dict[str, Any]
    send: Callable[[dict[str, Any]], None] = field(repr=False)
    state: str = "open"
    spoken: str = ""


class Failure(Exception):
    """What `says` returns to have a request answered with an error."""

    def __init__(self, code: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message, "data": {"kind": kind}}


class Standin:
    """`infill` and `generate` are answered with what `says` makes of their params, in one `token` a line, or, from
    `hold()` on, not until `release()`."""

    def __init__(self, socket_path: str | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tr-"))
        self.path = socket_path or str(self.home / "daemon.sock")
        self.says: Says = lambda params: ""
        self.loads: list[tuple[int, int]] = []
        """The (done, total) that a `models.load` reports."""
        self.requests: list[Seen] = []
        self._changed = threading.Condition()
        self._held = False
        self._peers: list[socket.socket] = []
        self.listen()

    def listen(self) -> None:
        beside = f"{self.path}.new"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(beside)
        self._listener.listen(16)
        os.replace(beside, self.path)  # at once in the place of one that may be there
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    @property
    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("THREADRUNNER_")}
        # An unusable option keeps a real daemon from starting in the stand-in's place once that is gone.
        # what a test before it took must not decide what is shown
        ours = {
            "THREADRUNNER_LEARN": "false",
            "THREADRUNNER_HOME": str(self.home),
            "THREADRUNNER_SOCKET": self.path,
            "THREADRUNNER_LOG": "stand-in",
        }
        return {**kept, **ours}

    def hold(self) -> None:
        with self._changed:
            self._held = True

    def release(self) -> None:
        with self._changed:
            self._held = False
            waiting = [seen for seen in self.requests if seen.state == "open"]
        for seen in waiting:
            self._answer(seen)

    def speak(self, seen: Seen, text: str) -> None:
        """Say a part of a held answer."""
        seen.spoken += text
        seen.send({"method": "token", "params": {"request": seen.id, "index": 0, "text": text}})

    def of(self, method: str = "infill", state: str | None = None, priority: str | None = None) -> list[Seen]:
        return [
            seen for seen in list(self.requests)
            if seen.method == method and state in (None, seen.state)
            and priority in (None, seen.params.get("priority"))
        ]  # fmt: skip

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Return once the condition holds; it is looked at after each event."""
        with self._changed:
            found = self._changed.wait_for(condition, PATIENCE)
        assert found, f"never: {what}; seen {self.requests}"
        return found

    def wait_for(self, count: int, method: str = "infill", state: str | None = None) -> list[Seen]:
        self.wait(lambda: len(self.of(method, state)) >= count, f"{count} {method} {state or ''}")
        return self.of(method, state)

    def die(self) -> None:
        """As a daemon that is killed: every stream ends, nobody listens."""
        Path(self.path).unlink(missing_ok=True)
        self._end_all(self._listener)

    def restart(self) -> None:
        """As one that is killed and has a successor already: whoever looks for it finds that one."""
        before = self._listener
        self.listen()
        self._end_all(before)

    def _end_all(self, listener: socket.socket) -> None:
        peers, self._peers = self._peers, []  # a successor has its own
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.die()
        shutil.rmtree(self.home, ignore_errors=True)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                peer = listener.accept()[0]
            except OSError:
                return
            self._peers.append(peer)
            threading.Thread(target=self._serve, args=[peer], daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        writing = threading.Lock()

        def send(message: dict[str, Any]) -> None:
            with writing, contextlib.suppress(OSError):
                peer.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

        mine: dict[int, Seen] = {}
        with contextlib.suppress(OSError), peer.makefile("rb") as lines:
            for line in lines:
                self._take(json.loads(line), mine, send)
        with self._changed:
            for seen in mine.values():
                if seen.state == "open":
                    seen.state = "cancelled"  # as in the real one: who hangs up wants nothing any more
            self._changed.notify_all()
        peer.close()

    def _take(self, message: dict[str, Any], mine: dict[int, Seen], send: Callable[[dict[str, Any]], None]) -> None:
        if message["method"] == "$/cancelRequest":
            seen = mine.get(message["params"]["id"])
            if seen is not None and self._becomes(seen, "cancelled"):
                send({"id": seen.id, "error": {"code": -32800, "message": "cancelled", "data": {}}})
            return
        seen = mine[message["id"]] = Seen(message["id"], message["method"], message["params"], send)
        with self._changed:
            self.requests.append(seen)
            held = self._held and seen.method in ("infill", "generate")
            self._changed.notify_all()
        if not held:
            self._answer(seen)

    def _answer(self, seen: Seen) -> None:
        if seen.method == "status":
            self._end(seen, {"result": {"models": [], "pid": 1}})
        elif seen.method == "models.load":
            for done, total in self.loads:
                about = {"request": seen.id, "stage": "load", "done": done, "total": total}
                seen.send({"method": "progress", "params": about})
            self._end(seen, {"result": {"model": "m", "path": "/m", "context": 2048, "load_ms": 1.0}})
        else:
            self._say(seen, self.says(seen.params))

    def _say(self, seen: Seen, said: Any) -> None:
        if isinstance(said, Failure):
            self._end(seen, {"error": said.body})
            return
        if isinstance(said, dict):
            self._end(seen, {"result": said})
            return
        texts = said if isinstance(said, list) else [said]
        if seen.params.get("stream", True):
            for piece in texts[0][len(seen.spoken) :].splitlines(keepends=True):
                seen.send({"method": "token", "params": {"request": seen.id, "index": 0, "text": piece}})
        result = {"text": texts[0], "finish_reason": "stop", "model": "m", "usage": USAGE, "timings": {}}
        if seen.params.get("n", 1) > 1:
            result["choices"] = [{"text": text, "finish_reason": "stop"} for text in texts]
        self._end(seen, {"result": result})

    def _end(self, seen: Seen, answer: dict[str, Any]) -> None:
        if self._becomes(seen, "failed" if "error" in answer else "answered"):
            seen.send({"id": seen.id, **answer})

    def _becomes(self, seen: Seen, state: str) -> bool:
        with self._changed:
            if seen.state != "open":
                return False
            seen.state = state
            self._changed.notify_all()
            return True


def standing() -> Iterator[Standin]:
    """For fixtures."""
    standin = Standin()
    try:
        yield standin
    finally:
        standin.close()
