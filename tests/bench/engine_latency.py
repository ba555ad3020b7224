"""First token of a short request: after a long prefill was cancelled, and while one runs.

    python tests/bench/engine_latency.py MODEL.gguf [--server LLAMA_SERVER] [--rounds 5]

The backend runs as in the worker: a loop thread that steps, and a reader that interrupts it when something arrives.
With --server the same is asked of llama-server (the cancel is a closed connection), so both stand in one run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import queue
import statistics
import threading
import time

from peer import Peer

from threadrunner.api.generation import GenerateParams
from threadrunner.backends.base import Failed, Finished, ModelSpec, Piece
from threadrunner.backends.llama import LlamaBackend

LONG = "The quick brown fox jumps over the lazy dog while the band plays on in the square. "
SHORT = "Name a colour."


class Loop:
    """The worker's loop in small: one thread steps, others submit and cancel through a queue."""

    def __init__(self, path: str) -> None:
        self.backend = LlamaBackend()
        self.backend.load(ModelSpec(name="bench", path=path), lambda done, total: None)
        self._inbox: queue.SimpleQueue = queue.SimpleQueue()
        self._ids = 0
        self._waiting: dict[int, queue.SimpleQueue] = {}
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, params: GenerateParams) -> tuple[int, queue.SimpleQueue]:
        self._ids += 1
        id, events = self._ids, queue.SimpleQueue()
        self._waiting[id] = events
        self.backend.interrupt_submit(params.priority)
        self._inbox.put((id, params))
        return id, events

    def cancel(self, id: int) -> None:
        self.backend.interrupt_cancel(id)
        self._inbox.put((id, None))

    def _run(self) -> None:
        backend, open_ids = self.backend, set()
        while True:
            while not self._inbox.empty() or not open_ids:
                id, params = self._inbox.get()
                if params is None:
                    backend.cancel(id)
                    open_ids.discard(id)
                else:
                    backend.submit(id, params)
                    open_ids.add(id)
            for event in backend.step():
                self._waiting[event.id].put((time.monotonic(), event))
                if isinstance(event, (Finished, Failed)):
                    open_ids.discard(event.id)


def first(events: queue.SimpleQueue, kind: type) -> float:
    while True:
        at, event = events.get()
        if isinstance(event, kind):
            return at


def measure_ours(path: str, tokens: int, rounds: int) -> dict[str, list[float]]:
    loop = Loop(path)
    found: dict[str, list[float]] = {}
    short_ms: list[float] = []
    for i in range(rounds + 1):
        _, events = loop.submit(GenerateParams(prompt=f"{i} {SHORT}", raw=True, max_tokens=4, temperature=0))
        began = time.monotonic()
        short_ms.append((first(events, Piece) - began) * 1e3)
        first(events, Finished)
    unseen = 100
    found["alone"] = short_ms[1:]
    for long_priority, short_priority in (("background", "interactive"), ("normal", "normal")):
        for what in ("after a cancel", "while it runs"):
            times = found[f"{what}, {short_priority} beside {long_priority}"] = []
            for i in range(rounds):
                prompt = f"{what} {long_priority} {i} " + LONG * (tokens // 17)
                id, _ = loop.submit(
                    GenerateParams(prompt=prompt, raw=True, max_tokens=1, priority=long_priority, temperature=0)
                )
                time.sleep(0.7)
                began = time.monotonic()
                if what == "after a cancel":
                    loop.cancel(id)
                unseen += 1
                short = GenerateParams(
                    prompt=f"{unseen} {SHORT}", raw=True, max_tokens=4, priority=short_priority, temperature=0
                )
                _, events = loop.submit(short)
                times.append((first(events, Piece) - began) * 1e3)
                first(events, Finished)
                if what == "while it runs":
                    loop.cancel(id)
    return found


def measure_peer(peer: Peer, tokens: int, rounds: int) -> dict[str, list[float]]:
    def ask(prompt: str, n: int) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port)
        body = json.dumps({"prompt": prompt, "n_predict": n, "stream": True, "temperature": 0})
        connection.request("POST", "/completion", body)
        return connection

    found: dict[str, list[float]] = {"after a cancel": [], "while it runs": []}
    for what, times in found.items():
        for i in range(rounds):
            long = ask(f"{what} {i} " + LONG * (tokens // 17), 1)
            time.sleep(0.7)
            began = time.monotonic()
            if what == "after a cancel":
                long.close()
            short = ask(f"{i} {SHORT}", 4)
            short.getresponse().readline()
            times.append((time.monotonic() - began) * 1e3)
            short.close()
            if what == "while it runs":
                long.getresponse().read()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=1850)
    args = parser.parse_args()
    rows = {f"ours, {k}": v for k, v in measure_ours(args.model, args.tokens, args.rounds).items()}
    if args.server:
        with Peer(args.server, args.model, "-np", "4", "-kvu", "-c", "8192") as peer:
            rows |= {f"llama-server, {k}": v for k, v in measure_peer(peer, args.tokens, args.rounds).items()}
    for name, times in rows.items():
        print(f"{name:58} median {statistics.median(times):8.1f} ms   worst {max(times):8.1f} ms")


if __name__ == "__main__":
    main()
