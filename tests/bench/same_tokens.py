"""Greedy tokens beside llama-server's: alone, as a second turn, and brought back from memory.

    python tests/bench/same_tokens.py LLAMA_SERVER MODEL.gguf...

No timing: a check of models that the suite has none of. Where one differs, our two likeliest tokens at that place are
shown with their log-probabilities: a few hundredths apart, it is rounding.
"""

from __future__ import annotations

import http.client
import json
import random
import sys

from peer import Peer

from threadrunner.backends.base import ModelSpec
from threadrunner.backends.llama import LlamaBackend
from threadrunner.engine.events import Ended
from threadrunner.engine.llama.sampler import Sampling
from threadrunner.engine.sequence import Request

SIZE = 24


def ours(backend: LlamaBackend, prompt: list[int]) -> Ended:
    engine = backend.loaded.engine
    engine.add(Request(1, prompt, Sampling(temperature=0, logprobs=2), max_tokens=SIZE))
    while True:
        for event in engine.step():
            if isinstance(event, Ended):
                return event


def theirs(peer: Peer, prompt: list[int]) -> list[int]:
    connection = http.client.HTTPConnection("127.0.0.1", peer.port)
    body = {"prompt": prompt, "n_predict": SIZE, "temperature": 0, "return_tokens": True, "cache_prompt": False}
    connection.request("POST", "/completion", json.dumps(body))
    return list(json.loads(connection.getresponse().read())["tokens"])


def compare(what: str, end: Ended, prompt: list[int], peer: Peer) -> str:
    said, wanted = end.sequence.tokens[len(prompt) :], theirs(peer, prompt)
    differs = next((i for i, (a, b) in enumerate(zip(said, wanted, strict=False)) if a != b), None)
    if differs is None:
        return f"{what}: same ({end.sequence.cached} of {len(prompt)} known)"
    return f"{what}: differs at {differs}, {end.logprobs[differs][0].top if differs < len(end.logprobs) else ''}"


def check(server: str, path: str) -> str:
    rng = random.Random(1)
    backend = LlamaBackend()
    backend.load(ModelSpec(name="check", path=path, context=2048, threads=1), lambda done, total: None)
    with Peer(server, path, "-c", "2048", "-np", "1", "-t", "1") as peer:
        size = min(1000, backend.loaded.vocab.n_tokens)
        first = [rng.randrange(260, size) for _ in range(300)]
        end = ours(backend, first)
        said = [compare("alone", end, first, peer)]
        second = [*end.sequence.tokens, *(rng.randrange(260, size) for _ in range(20))]
        said.append(compare("second turn", ours(backend, second), second, peer))
        while backend.loaded.engine.cells.evict_one():
            pass
        said.append(compare("brought back", ours(backend, second), second, peer))
    backend.close()
    return "; ".join(said)


if __name__ == "__main__":
    for model in sys.argv[2:]:
        print(f"{model}: {check(sys.argv[1], model)}", flush=True)
