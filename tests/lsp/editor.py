"""An editor of a test's own: LSP in plain JSON over pipes. It shares no code with the server, pygls included."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from tests.lsp.nursery import forked
from tests.support import PATIENCE

INLINE: dict[str, Any] = {"textDocument": {"inlineCompletion": {}}}
URI = "file:///work/a.py"


class LspError(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]


class Editor:
    """Starts the server and shakes hands. `messages` holds all that it ever sent; requests of it are answered by
    `replies`, by method, with null otherwise."""

    def __init__(self, env: dict[str, str], capabilities: dict[str, Any] | None = None, **initialize: Any) -> None:
        self.process = subprocess.Popen(
            forked("lsp"), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.messages: list[dict[str, Any]] = []
        self.replies: dict[str, Callable[[Any], Any]] = {}
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._ended = False
        self._stderr = b""
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._drain)]
        for thread in self._threads:
            thread.start()
        self._versions: dict[str, int] = {}
        params = {"processId": None, "rootUri": None, "capabilities": capabilities or {}, **initialize}
        self.server = self.call("initialize", params)
        self.notify("initialized", {})

    # ---- messages

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.process.stdin.flush()

    def notify(self, method: str, params: Any) -> None:
        self.send({"method": method, "params": params})

    def begin(self, method: str, params: Any) -> int:
        id = next(self._ids)
        self.send({"id": id, "method": method, "params": params})
        return id

    def cancel(self, id: int) -> None:
        self.notify("$/cancelRequest", {"id": id})

    def until(self, id: int) -> Any:
        """The result of a request. Raises LspError."""
        message = self.wait(lambda m: m.get("id") == id and "method" not in m, f"the answer to {id}")
        if "error" in message:
            raise LspError(message["error"])
        return message["result"]

    def call(self, method: str, params: Any) -> Any:
        return self.until(self.begin(method, params))

    def wait(self, condition: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
        """The first message, past or to come, for which the condition holds."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [message for message in self.messages if condition(message)]
            return bool(found) or self._ended

        with self._changed:
            self._changed.wait_for(look, PATIENCE)
        assert found, f"never: {what}; the server said {self.messages}, and to stderr {self._stderr.decode()}"
        return found[0]

    def said(self, method: str) -> list[Any]:
        """Params of the notifications and requests of that name so far."""
        return [message.get("params") for message in list(self.messages) if message.get("method") == method]

    def answers(self, id: int) -> int:
        return sum(m.get("id") == id and "method" not in m for m in list(self.messages))

    # ---- documents

    def open(self, text: str, uri: str = URI, language: str = "python") -> None:
        self._versions[uri] = 1
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def change(self, text: str, line: int, character: int, end: tuple[int, int] | None = None, uri: str = URI) -> None:
        self._versions[uri] += 1
        stop = end or (line, character)
        span = {
            "start": {"line": line, "character": character},
            "end": {"line": stop[0], "character": stop[1]},
        }
        document = {"uri": uri, "version": self._versions[uri]}
        self.notify(
            "textDocument/didChange", {"textDocument": document, "contentChanges": [{"range": span, "text": text}]}
        )

    def begin_inline(self, line: int, character: int, manual: bool = False, uri: str = URI, **context: Any) -> int:
        return self.begin(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": 1 if manual else 2, **context},
            },
        )

    def inline(self, line: int, character: int, manual: bool = False, uri: str = URI, **context: Any) -> list[Any]:
        return list(self.until(self.begin_inline(line, character, manual, uri, **context))["items"])

    def menu(self, line: int, character: int, uri: str = URI) -> dict[str, Any]:
        where = {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}
        return dict(self.call("textDocument/completion", where))

    # ---- the end

    def close(self) -> int:
        """Shut down as LSP asks; the exit code."""
        if self.process.poll() is None and not self._ended:
            self.call("shutdown", None)
            self.notify("exit", None)
        return self.wait_end()

    def wait_end(self) -> int:
        assert self.process.stdin
        code = self.process.wait(PATIENCE)
        self.process.stdin.close()
        for thread in self._threads:
            thread.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout
        stream = self.process.stdout
        while header := stream.readline():
            length = int(header.split(b":")[1])
            while stream.readline().strip():
                pass
            message = json.loads(stream.read(length))
            if "method" in message and "id" in message:
                reply = self.replies.get(message["method"], lambda params: None)
                self.send({"id": message["id"], "result": reply(message.get("params"))})
            with self._changed:
                self.messages.append(message)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _drain(self) -> None:
        assert self.process.stderr
        self._stderr = self.process.stderr.read()
