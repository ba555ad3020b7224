"""A typing session through the language server: 200 keys at human pace in a real file.

    python tests/bench/lsp_typing.py MODEL.gguf [--keys N] [--debounce MS]

Types a stretch of this project's own code back into its file, as VS Code would send it: each key cancels the request
under way, changes the text, and asks again. The pauses are a person's: drawn once, with a fixed seed, longer behind
punctuation and at line ends. Prints what the daemon was asked, what came from the cache, tokens evaluated, the time
from key to suggestion, requests without an answer, the time from a cancel to an idle engine; and last the adapter's own
share: the same keys against a daemon that answers at once.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent.parent.parent)]

from tests.lsp.editor import INLINE, Editor
from tests.lsp.standin import Standin
from tests.support import Daemon, Wire

FILE = Path(__file__).parent.parent.parent / "threadrunner" / "wire" / "framing.py"
BEGIN = "    def _next_line(self)"


def pauses(text: str, seed: int = 1) -> list[float]:
    """Seconds before each key: about 65 words a minute, with the pauses that people make to think."""
    chance = random.Random(seed)
    found = []
    for before in " " + text[:-1]:
        slow = 3.0 if before == "\n" else 1.8 if before in "(.,:=" else 1.0
        found.append(min(1.5, slow * chance.lognormvariate(-2.0, 0.45)))
    return found


class Session:
    """Types into one document and notes when each request was sent and answered."""

    def __init__(self, env: dict[str, str], settings: dict[str, Any]) -> None:
        self.editor = Editor(env, INLINE, initializationOptions={"count": False, **settings})
        self.sent: dict[int, float] = {}
        self.answered: dict[int, float] = {}
        self.shown: dict[int, bool] = {}

    def open(self, before: str, behind: str, uri: str) -> None:
        self.uri = uri
        self.editor.open(before + behind, uri)
        lines = before.split("\n")
        self.line, self.column = len(lines) - 1, len(lines[-1])

    def key(self, key: str, pending: int | None) -> int:
        if pending is not None and pending not in self.answered:
            self.editor.cancel(pending)
        self.editor.change(key, self.line, self.column, uri=self.uri)
        if key == "\n":
            self.line, self.column = self.line + 1, 0
        else:
            self.column += 1
        id = self.editor.begin_inline(self.line, self.column, uri=self.uri)
        self.sent[id] = time.monotonic()
        return id

    def collect(self, until: float) -> None:
        """Note answers as they come, until the time of the next key."""
        while (left := until - time.monotonic()) > 0:
            self._note()
            with self.editor._changed:
                self.editor._changed.wait(min(left, 0.02))
        self._note()

    def _note(self) -> None:
        for message in list(self.editor.messages):
            id = message.get("id")
            if id in self.sent and id not in self.answered and "method" not in message:
                self.answered[id] = time.monotonic()
                self.shown[id] = bool(message.get("result") and message["result"]["items"])

    def finish(self) -> None:
        for id in self.sent:
            self.editor.wait(lambda m, id=id: m.get("id") == id and "method" not in m, f"an answer to {id}")
        self._note()

    def waits(self) -> list[float]:
        """Milliseconds from a key to its suggestion, where there was one."""
        return sorted(1e3 * (self.answered[id] - at) for id, at in self.sent.items() if self.shown.get(id))


def split(keys: int) -> tuple[str, str, str]:
    text = FILE.read_text()
    at = text.index(BEGIN)
    return text[:at], text[at : at + keys], text[at + keys :]


def type_all(session: Session, keys: int) -> None:
    before, typed, behind = split(keys)
    session.open(before, "\n" + behind.partition("\n")[2], "file:///bench/framing.py")
    pending: int | None = None
    due = time.monotonic()
    for key, pause in zip(typed, pauses(typed), strict=True):
        due = max(due + pause, time.monotonic())
        session.collect(due)
        pending = session.key(key, pending)
    session.finish()


def idle_after_cancel(session: Session, wire: Wire) -> float:
    """Milliseconds from a cancel in mid-prefill to an engine with nothing to do."""
    session.open(FILE.read_text() + "\n" + Path(__file__).read_text(), "\n", "file:///bench/other.py")
    while active(wire):  # a guess may still be under way
        pass
    id = session.editor.begin_inline(session.line, session.column, uri=session.uri)
    while not active(wire):
        pass
    began = time.monotonic()
    session.editor.cancel(id)
    while active(wire):
        pass
    return 1e3 * (time.monotonic() - began)


def active(wire: Wire) -> int:
    return sum(model["active"] + model["queued"] for model in wire.call("status")["models"])


def show(name: str, session: Session) -> None:
    figures = session.editor.call("threadrunner/status", {})["session"]
    waits = session.waits()
    print(
        f"{name}: {len(session.sent)} keys, {figures['asked']} requests to the daemon, "
        f"{figures['joined']} went along with one under way, {figures['speculated']} guesses"
    )
    print(f"  from the cache: {figures['from_cache']} ({100 * figures['from_cache'] / len(session.sent):.0f} %)")
    per_key = figures["evaluated_tokens"] / len(session.sent)
    print(f"  tokens evaluated in finished requests: {figures['evaluated_tokens']} ({per_key:.1f} a key)")
    if len(waits) > 1:
        p95 = statistics.quantiles(waits, n=20)[-1]
        print(f"  key to suggestion ({len(waits)} shown): median {statistics.median(waits):.1f} ms, p95 {p95:.1f} ms")
    print(f"  without an answer: {len(set(session.sent) - set(session.answered))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--debounce", type=int)
    args = parser.parse_args()
    settings = {} if args.debounce is None else {"debounceMs": args.debounce}

    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=args.model, THREADRUNNER_LOG="warning")
    session = Session(daemon.start().env, settings)
    try:
        with daemon.wire() as wire:
            wire.call("models.load")
            type_all(session, args.keys)
            show("real model", session)
            times = [idle_after_cancel(session, wire) for _ in range(3)]
            print("  cancel to an idle engine: " + ", ".join(f"{each:.1f}" for each in times) + " ms")
        session.editor.close()
    finally:
        session.editor.process.kill()
        daemon.close()

    standin = Standin()
    standin.says = lambda params: "x"  # never what is typed next, so that each key goes all the way
    session = Session(standin.env, {"debounceMs": 0, "speculate": False})
    try:
        type_all(session, args.keys)
        waits = session.waits()
        print(f"the adapter alone ({len(waits)} keys): median {statistics.median(waits):.1f} ms, p95 "
              f"{statistics.quantiles(waits, n=20)[-1]:.1f} ms")  # fmt: skip
        session.editor.close()
    finally:
        session.editor.process.kill()
        standin.close()


if __name__ == "__main__":
    main()
