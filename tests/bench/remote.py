"""What our daemon adds before a model on another machine: the same requests to llama-server, asked directly and through
`remote:`, by turns, over the loopback.

    python tests/bench/remote.py LLAMA_SERVER MODEL.gguf

The server computes with one thread: with as many as there are cores, what is measured is who gets them. It reports the
time to the first token and the time of each further one, as medians, and their difference and ratio.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.peer import Peer
from tests.support import Daemon, Wire

ROUNDS = int(os.environ.get("ROUNDS", "20"))
TOKENS = 24


def directly(port: int, prompt: str) -> list[float]:
    """When each piece of the answer came, in seconds from the request on."""
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "max_tokens": TOKENS,
        "temperature": 0,
    }
    began = time.perf_counter()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:  # a new one, as curl has
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        lines = (line for line in connection.getresponse() if line.startswith(b"data: {"))
        texts = (line for line in lines if json.loads(line[6:])["choices"][0]["delta"].get("content"))
        return [time.perf_counter() - began for _ in texts]


def through(wire: Wire, prompt: str) -> list[float]:
    began = time.perf_counter()
    id, times = wire.begin("generate", model="remote:box", prompt=prompt, max_tokens=TOKENS, temperature=0), []
    while (message := wire.read()) and message.get("id") != id:
        if message["method"] == "token":
            times.append(time.perf_counter() - began)
    assert "result" in message, message
    return times


def main(binary: str, model: str) -> None:
    daemon = Daemon(THREADRUNNER_OFFLINE="")
    with Peer(binary, model, "-c", "2048", "-t", "1") as peer, contextlib.closing(daemon):
        (daemon.home / "config.toml").write_text(f'[remotes.box]\nurl = "http://127.0.0.1:{peer.port}"\n')
        wire = daemon.start().wire()
        ways = {"directly": lambda p: directly(peer.port, p), "through remote:": lambda p: through(wire, p)}
        first: dict[str, list[float]] = {name: [] for name in ways}
        rest: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS + 2):
            for name, ask in ways.items():
                # Both find the same beginning in the server's cache, and each must evaluate a few new tokens.
                times = ask(f"Count the letters of the word number {number}, {name}.")
                if number >= 2:
                    first[name].append(times[0] * 1e3)
                    rest[name].append((times[-1] - times[0]) / max(1, len(times) - 1) * 1e3)
    print(f"{'':16} {'first token':>12} {'each further':>14}")
    for name in ways:
        print(f"{name:16} {statistics.median(first[name]):9.2f} ms {statistics.median(rest[name]):11.3f} ms")
    (a, b), (c, d) = ([statistics.median(way[name]) for name in ways] for way in (first, rest))
    print(f"{'added':16} {b - a:9.2f} ms {d - c:11.3f} ms\n{'ratio':16} {b / a:9.2f}    {d / c:11.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
