"""`threadrunner serve` beside llama-server, in one run.

    python -m tests.bench.serving WHAT MODEL.gguf LLAMA_SERVER [ROUNDS]

WHAT is one of these; each prints the median of rounds that alternate (default 7):
  - first: milliseconds to the first piece of a warm request, on a new connection;
  - decode: tokens a second, streamed by 1 and by 8 clients;
  - idle: the first piece again, beside 200 connections that say nothing;
  - gone: from a client's hang-up to an engine that is idle, in the queue, in a prefill, in mid-stream;
  - process: the memory of `serve`, and its start to the first answer of /health; needs no llama-server;
  - way: what a token costs in `serve`; needs no model.
"""

from __future__ import annotations

import itertools
import json
import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.peer import REST, Peer
from tests.bench.token_way import processor_us
from tests.conftest import PLUGIN, python_path
from tests.http.served import Served, listening, sse
from tests.support import Daemon, pip_install

OPTIONS = ["-t", "2", "-c", "16384", "-np", "8", "-kvu"]
LONG = "The sea is wide and the harbour is small. "


def request(prompt: str, tokens: int, path: str = "/v1/chat/completions") -> bytes:
    body = {
        "model": "default", "messages": [{"role": "user", "content": prompt}], "stream": True,
        "max_tokens": tokens, "temperature": 0, "ignore_eos": True,
    }  # fmt: skip
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def streamed(port: int, prompts: list[str], tokens: int, path: str = "/v1/chat/completions") -> tuple[float, float]:
    """Milliseconds until a client has its first piece (the last of them); tokens a second of all from there on."""
    clients = [connect(port) for _ in prompts]
    with selectors.DefaultSelector() as selector:
        began = time.perf_counter()
        for client, prompt in zip(clients, prompts, strict=True):
            selector.register(client, selectors.EVENT_READ)
            client.sendall(request(prompt, tokens, path))
        waiting, open_ = set(clients), set(clients)
        first = last = began
        while open_:
            for key, _ in selector.select():
                client = key.fileobj
                assert isinstance(client, socket.socket)
                data = client.recv(1 << 16)
                if client in waiting and _piece(data):
                    waiting.discard(client)
                    first = time.perf_counter()
                if b"[DONE]" in data or not data:
                    last = time.perf_counter()
                    open_.discard(client)
                    selector.unregister(client)
    assert not waiting, "a client got nothing"
    for client in clients:
        client.close()
    return (first - began) * 1e3, len(prompts) * (tokens - 1) / (last - first) if tokens > 1 else 0.0


def _piece(data: bytes) -> bool:
    """Whether there is text in it: both write compact JSON, and begin with an empty or null content."""
    return b'"content":"' in data.replace(b'"content":""', b"")


def pairs(rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[list[float], list[float]]:
    ours(), theirs()
    a, b = [], []
    for i in range(rounds):
        for which in (0, 1) if i % 2 else (1, 0):
            (a if which == 0 else b).append((ours, theirs)[which]())
    return a, b


def row(what: str, unit: str, a: list[float], b: list[float], theirs: str = "llama-server") -> None:
    ratio = statistics.median(x / y for x, y in zip(a, b, strict=True))
    x, y = statistics.median(a), statistics.median(b)
    ranges = f"({min(a):.1f} to {max(a):.1f}; {min(b):.1f} to {max(b):.1f})"
    print(f"{what:32} {x:8.1f} {unit:5}  {theirs} {y:8.1f} {unit:5}  ratio of pairs {ratio:5.3f}  {ranges}")


def alone(what: str, took: list[float]) -> None:
    print(f"{what:32} {statistics.median(took):8.1f} ms  ({min(took):.1f} to {max(took):.1f})")


def first(served: Served, peer: Peer, rounds: int, what: str = "first token, warm") -> None:
    def one(port: int) -> float:
        time.sleep(REST)
        return streamed(port, ["Write about the sea."], 1)[0]

    row(what, "ms", *pairs(rounds * 3, lambda: one(served.port), lambda: one(peer.port)))


def decode(served: Served, peer: Peer, rounds: int) -> None:
    for count in (1, 8):
        prompts = [f"Write about the sea, the harbour and the number {i}." for i in range(count)]
        tokens = 128 if count == 1 else 48

        def one(port: int, prompts: list[str] = prompts, tokens: int = tokens) -> float:
            return streamed(port, prompts, tokens)[1]

        pids = {"serve": served.process.pid, "daemon": served.daemon.pid}
        before = {name: processor_us(pid) for name, pid in pids.items()}
        row(f"decode, {count} clients", "tok/s", *pairs(rounds, lambda: one(served.port), lambda: one(peer.port)))
        told = (rounds + 1) * count * tokens
        cost = {name: (processor_us(pid) - before[name]) / told for name, pid in pids.items()}
        print(f"    processor time a token: serve {cost['serve']:.0f} us, daemon {cost['daemon']:.0f} us")


def idle(served: Served, peer: Peer, rounds: int) -> None:
    lines = [connect(port) for port in (served.port, peer.port) for _ in range(200)]
    first(served, peer, rounds, "first token, 200 idle beside it")
    for line in lines:
        line.close()


def gone(served: Served, peer: Peer, rounds: int) -> None:
    def theirs(*_: int) -> dict[str, int]:
        with connect(peer.port) as client:
            client.sendall(b"GET /slots HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            data = b"".join(iter(lambda: client.recv(1 << 16), b""))
        busy = [slot["is_processing"] for slot in json.loads(data.partition(b"\r\n\r\n")[2])]
        return {"active": sum(busy), "queued": 0}

    wire = served.daemon.wire()

    def ours() -> dict[str, int]:
        (model,) = wire.call("status")["models"]
        return {"active": model["active"], "queued": model["queued"]}

    sides = (("ours", served.port, ours), ("llama-server", peer.port, theirs))
    alone("gone in the queue, ours", [_gone_from_queue(served.port, ours) for _ in range(rounds)])
    for what in ("in a prefill", "in mid-stream"):
        for name, port, look in sides:
            took = [_gone(port, look, prefill=what == "in a prefill", number=i) for i in range(rounds)]
            alone(f"gone {what}, {name}", took)


def _gone(port: int, look: Callable[[], dict[str, int]], prefill: bool, number: int) -> float:
    """Milliseconds from the hang-up until nothing is active."""
    client = connect(port)
    # Of another beginning each time, or it would be in the cache.
    prompt = f"{number} {time.time()} " + LONG * 150 if prefill else "Write about the sea."
    client.sendall(request(prompt, 2000))
    if prefill:
        while look()["active"] == 0:
            pass
        time.sleep(0.2)
    else:
        while not _piece(client.recv(1 << 16)):
            pass
    client.close()
    began = time.perf_counter()
    while look()["active"]:
        pass
    return (time.perf_counter() - began) * 1e3


def _gone_from_queue(port: int, look: Callable[[], dict[str, int]]) -> float:
    """Until nothing runs or waits, once 40 clients have hung up of which some were waiting for their turn."""
    clients = [connect(port) for _ in range(40)]
    for i, client in enumerate(clients):
        client.sendall(request(f"{i} {time.time()}", 2000))
    while look()["queued"] == 0:
        pass
    for client in clients:
        client.close()
    began = time.perf_counter()
    while any(look().values()):
        pass
    return (time.perf_counter() - began) * 1e3


def process(served: Served, rounds: int) -> None:
    for _ in range(3):
        streamed(served.port, [f"number {i}" for i in range(8)], 16)
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    rss = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1e3
    print(f"memory of serve {rss:.1f} MB")
    starts: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        other = Served(served.daemon)
        assert other.get("/health").status == 200
        starts.append((time.perf_counter() - began) * 1e3)
        other.close()
    alone("start of serve, to /health", starts)


def way(tokens: int = 20_000, paced: int = 1_000) -> None:
    """Microseconds of processor time a token, in `serve` and the daemon, for a backend that computes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        plugin = python_path(pip_install(PLUGIN, Path(folder)))
        for what, backend, prompt, count in (
            ("2 ms between two", "trouble", "drip", paced),
            ("as they come", "dummy", "word " * tokens, tokens),
        ):
            daemon = Daemon(THREADRUNNER_BACKEND=backend, PYTHONPATH=plugin, THREADRUNNER_LOG="warning")
            for served in listening(daemon):
                _way(served, "drip", 5)
                before = processor_us(served.process.pid), processor_us(daemon.pid)
                _way(served, prompt, count)
                serve, its_daemon = processor_us(served.process.pid) - before[0], processor_us(daemon.pid) - before[1]
                print(f"{what:20} serve {serve / count:6.1f}  daemon {its_daemon / count:6.1f}  us a token")


def _way(served: Served, prompt: str, tokens: int) -> None:
    body = {"model": "default", "messages": [{"role": "user", "content": prompt}], "stream": True}
    with sse(served, "/v1/chat/completions", body) as events:
        for _ in itertools.islice(events, tokens):
            pass


@contextmanager
def serving(model: str, **more: str) -> Iterator[Served]:
    env: dict[str, Any] = {"THREADRUNNER_BACKEND": "llama", "THREADRUNNER_MODEL_PATH": model, **more}
    daemon = Daemon(**env, THREADRUNNER_LOG="warning").start()
    try:
        served = Served(daemon)
        try:
            yield served
        finally:
            served.close()
    finally:
        daemon.close()


def main(what: str, model: str = "", binary: str = "", rounds: int = 7) -> None:
    if what == "way":
        way()
        return
    with serving(model) as served:
        if what == "process":
            process(served, rounds)
            return
        with Peer(binary, model, *OPTIONS) as peer:
            {"first": first, "decode": decode, "idle": idle, "gone": gone}[what](served, peer, rounds)


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:5]))
