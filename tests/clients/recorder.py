"""Stands in for `threadrunner lsp`: keeps the editor's documents as it is told of them, suggests nothing, and writes
what it has, one line a request, for the test to compare with the editor's own buffer. A request for the status is a
line too: all that was asked before it has been answered.

    python recorder.py LOG
"""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace
from typing import Any

from threadrunner.lsp.suggest.documents import UTF16, Document

INPUT, OUTPUT = sys.stdin.buffer, sys.stdout.buffer


def receive() -> dict[str, Any] | None:
    size = 0
    while (header := INPUT.readline()).strip():
        name, _, value = header.partition(b":")
        size = int(value) if name.lower() == b"content-length" else size
    return json.loads(INPUT.read(size)) if header else None


def answer(request: dict[str, Any], result: Any) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()
    OUTPUT.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    OUTPUT.flush()


class Recorder:
    def __init__(self, log: str) -> None:
        self.log = open(log, "a", buffering=1)  # noqa: SIM115  # for as long as the process lives
        self.documents: dict[str, Document] = {}
        self.encoding = UTF16
        self.faults: list[str] = []

    def take(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params") or {}
        if method == "initialize":
            offered = (params["capabilities"].get("general") or {}).get("positionEncodings") or [UTF16]
            self.encoding = offered[0]
            sync = {"openClose": True, "change": 2, "save": True}
            told = {"positionEncoding": self.encoding, "textDocumentSync": sync, "inlineCompletionProvider": {}}
            answer(message, {"capabilities": told})
        elif method == "textDocument/inlineCompletion":
            self.write(params)
            answer(message, {"items": []})
        elif method == "threadrunner/status":
            self.log.write(json.dumps({"pid": os.getpid(), "barrier": True}) + "\n")
            answer(message, {})
        elif method and method.startswith("textDocument/did"):
            self.document(method.removeprefix("textDocument/did"), params)
        elif "id" in message and method:
            answer(message, None)

    def document(self, what: str, params: dict[str, Any]) -> None:
        given = params["textDocument"]
        uri = given["uri"]
        if what == "Open":  # again too: Neovim's client does so
            self.documents[uri] = Document(uri, "", given["languageId"], 1, given["text"], self.encoding)
        elif what == "Close":
            self.documents.pop(uri, None)
        elif what == "Change" and uri not in self.documents:
            self.faults.append(f"a change of {uri}, which is not open")
        for change in params.get("contentChanges", []) if uri in self.documents else []:
            span = change.get("range")
            places = span and SimpleNamespace(**{side: SimpleNamespace(**span[side]) for side in ("start", "end")})
            self.documents[uri].change(places, change["text"])

    def write(self, params: dict[str, Any]) -> None:
        uri = params["textDocument"]["uri"]
        document, where = self.documents.get(uri), SimpleNamespace(**params["position"])
        line = {
            "pid": os.getpid(), "uri": uri, "faults": self.faults, "open": sorted(self.documents),
            "text": document and document.whole(),
            "before": document and document.head(document.place(where)), "line": where.line,
        }  # fmt: skip
        self.log.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    recorder = Recorder(sys.argv[1])
    while (received := receive()) is not None and received.get("method") != "exit":
        recorder.take(received)
