"""Decode speed beside llama-server, and what a step costs in Python.

    python tests/bench/engine_decode.py MODEL.gguf --server LLAMA_SERVER [--clients 1 8] [--rounds 3] [--behind 20]

Ours runs in this process, llama-server is asked over HTTP without streaming and timed by its own clock
(predicted_per_second for one client; for several both by the wall clock, prompts included); rounds alternate, medians
count. `--behind N`: ours has answered N other requests of 1,000 tokens before, and had the time to put them away;
llama-server is fresh. With `--hold` it waits for a line on standard input before it begins to measure.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from peer import Peer

from threadrunner.api.generation import GenerateParams
from threadrunner.backends.base import Finished, ModelSpec
from threadrunner.backends.llama import LlamaBackend

TOKENS = 96
WORDS = ["river", "stone", "bridge", "lamp", "horse", "mill", "clock", "church", "boat", "well"]
PROMPT = "Write down everything you know about the number {}. It is"


def ours(backend: LlamaBackend, clients: int, round_: int) -> tuple[float, float]:
    """Tokens a second over all clients, and microseconds a step outside llama_decode."""
    engine = backend.loaded.engine
    context = engine.context
    decode, spent, steps = context.decode, 0.0, 0

    def timed() -> int:
        nonlocal spent
        began = time.perf_counter()
        status = decode()
        spent += time.perf_counter() - began
        return status

    for i in range(clients):
        prompt = PROMPT.format(1000 * round_ + i)
        backend.submit(i, GenerateParams(prompt=prompt, raw=True, max_tokens=TOKENS, temperature=0, stream=True))
    began_all = time.perf_counter()
    while engine.queued or any(not s.generated for s in engine.cells.running):
        backend.step()
    generated = sum(s.generated for s in engine.cells.running)
    context.decode = timed  # type: ignore[method-assign]
    began, open_requests, total = time.perf_counter(), clients, 0
    while open_requests:
        steps += 1
        for event in backend.step():
            if isinstance(event, Finished):
                open_requests -= 1
                total += event.result.usage.completion_tokens
    took = time.perf_counter() - began
    context.decode = decode  # type: ignore[method-assign]
    rate = (total - generated) / took if clients == 1 else total / (time.perf_counter() - began_all)
    return rate, (took - spent) / steps * 1e6


def fill_ours(backend: LlamaBackend, count: int, tokens: int) -> None:
    for i in range(count):
        backend.submit(i, GenerateParams(prompt=conversation(i, tokens), raw=True, max_tokens=4, temperature=0))
        while not any(isinstance(event, Finished) for event in backend.step()):
            pass
        rest(backend)


def conversation(number: int, tokens: int) -> str:
    """About so many tokens, no two alike from the first one on."""
    words = random.Random(number).choices(WORDS, k=tokens)
    return f"{number} {' '.join(words)}"


def rest(backend: LlamaBackend) -> None:
    """What the worker does while nothing is asked."""
    while backend.tidy():
        pass


def theirs(peer: Peer, clients: int, round_: int) -> float:
    def ask(i: int) -> tuple[float, int]:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port)
        prompt = PROMPT.format(1000 * round_ + 500 + i)
        body = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0, "ignore_eos": False}
        connection.request("POST", "/completion", json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        return answer["timings"]["predicted_per_second"], answer["timings"]["predicted_n"]

    with ThreadPoolExecutor(clients) as pool:
        began = time.perf_counter()
        answers = list(pool.map(ask, range(clients)))
        took = time.perf_counter() - began
    return answers[0][0] if clients == 1 else sum(n for _, n in answers) / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--server")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--behind", type=int, default=0)
    parser.add_argument("--behind-tokens", type=int, default=1000)
    parser.add_argument("--hold", action="store_true")
    args = parser.parse_args()
    backend = LlamaBackend()
    backend.load(ModelSpec(name="bench", path=args.model, threads=args.threads), lambda done, total: None)
    backend.loaded.threads.due = lambda wall: False  # type: ignore[method-assign]  # the peer takes none back either
    fill_ours(backend, args.behind, args.behind_tokens)
    with contextlib.ExitStack() as stack:
        peer = None
        if args.server:
            options = ("-np", "8", "-kvu", "-c", "8192", "-t", str(args.threads))
            peer = stack.enter_context(Peer(args.server, args.model, *options))
        print(f"{args.behind} requests of {args.behind_tokens} tokens behind, {backend.gauges()}", flush=True)
        if args.hold:
            input()
        for clients in args.clients:
            measure(backend, peer, clients, args.rounds)
    backend.close()


def measure(backend: LlamaBackend, peer: Peer | None, clients: int, rounds: int) -> None:
    rates, overheads, peer_rates = [], [], []
    if peer:
        theirs(peer, 1, 99)
    ours(backend, 1, 98)
    for i in range(rounds):
        rest(backend)
        rate, overhead = ours(backend, clients, i)
        rates.append(rate)
        overheads.append(overhead)
        if peer:
            peer_rates.append(theirs(peer, clients, i))
    line = f"{clients} clients: ours {statistics.median(rates):.1f} tok/s"
    line += f", {statistics.median(overheads):.0f} us a step outside llama_decode"
    if peer:
        ratio = statistics.median(a / b for a, b in zip(rates, peer_rates, strict=True))
        line += f"; llama-server {statistics.median(peer_rates):.1f} tok/s, ratio {ratio:.2f}"
    print(f"{line}; {backend.gauges()}")
    # every round, because a median of ratios hides rounds in which one side was starved
    print("   rounds:", ", ".join(f"{a:.0f}/{b:.0f}" for a, b in zip(rates, peer_rates, strict=False)), flush=True)


if __name__ == "__main__":
    main()
