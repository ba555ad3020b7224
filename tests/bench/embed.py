"""500 short texts to vectors: our daemon and llama-server by turns, each in one request, and whether they agree.

python -m tests.bench.embed LLAMA_SERVER MODEL.gguf
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import random
import statistics
import sys
import time

from tests.bench.peer import Peer
from tests.support import Daemon, Wire

ROUNDS = int(os.environ.get("ROUNDS", "5"))
TEXTS = int(os.environ.get("TEXTS", "500"))
WORDS = ("rain", "harbour", "lamp", "winter", "code", "river", "letter", "stone", "music", "garden", "engine", "bread")


def texts(seed: int) -> list[str]:
    """Of 5 to 30 words, as notes and questions have."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randrange(5, 31))) for _ in range(TEXTS)]


def theirs(port: int, asked: list[str]) -> tuple[float, list[list[float]]]:
    began = time.perf_counter()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("POST", "/v1/embeddings", json.dumps({"input": asked}), {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    return time.perf_counter() - began, [one["embedding"] for one in answer["data"]]


def ours(wire: Wire, model: str, asked: list[str]) -> tuple[float, list[list[float]]]:
    began = time.perf_counter()
    answer = wire.call("embed", model=model, input=asked)
    return time.perf_counter() - began, answer["embeddings"]


def cosine(one: list[float], other: list[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths


def main(binary: str, model: str) -> None:
    daemon = Daemon(THREADRUNNER_BACKEND="llama")
    options = ["--embedding", "--pooling", "mean", "-c", "8192", "-b", "2048", "-ub", "2048"]
    with Peer(binary, model, *options) as peer, contextlib.closing(daemon):
        wire = daemon.start().wire()
        ours(wire, model, texts(-1)[:20])
        theirs(peer.port, texts(-1)[:20])
        ratios, worst = [], 1.0
        for number in range(ROUNDS):
            asked = texts(number)
            if number % 2:
                (mine, a), (peers, b) = ours(wire, model, asked), theirs(peer.port, asked)
            else:
                (peers, b), (mine, a) = theirs(peer.port, asked), ours(wire, model, asked)
            ratios.append(peers / mine)
            worst = min(worst, *map(cosine, a, b))
            print(f"ours {mine:.2f} s, llama-server {peers:.2f} s: {peers / mine:.2f} x its throughput", flush=True)
    print(f"median of {ROUNDS} rounds: {statistics.median(ratios):.2f} x; cosine at least {worst:.5f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
