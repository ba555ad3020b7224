"""First token of a conversation's next turn, where what it begins with is in cells, parked in memory, on disk after a
restart, or evaluated again.

    python tests/bench/engine_restore.py MODEL.gguf [--tokens 500 2000 6000] [--threads N] [--cpu]

The next turn adds about a dozen tokens. Medians of `--rounds` conversations. `--cpu`: processor time, for a machine
that is not quiet; with one thread it is what a quiet one would take.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.backends.base import Finished, ModelSpec
from threadrunner.backends.llama import LlamaBackend

clock = time.perf_counter
TEXT = "The quick brown fox jumps over the lazy dog while the band plays on. "
TURN = " ({}) And then, what did the other animals say to it?"


def loaded(path: str, threads: int, folder: str) -> LlamaBackend:
    backend = LlamaBackend()
    spec = ModelSpec(name="m", path=path, threads=threads, cache_dir=folder, cache_bytes=4 << 30, fingerprint="bench")
    backend.load(spec, lambda done, total: None)
    return backend


def ask(backend: LlamaBackend, prompt: str) -> tuple[float, int, int]:
    """Milliseconds to the first token; tokens of the prompt, and those of them that were not evaluated again."""
    began = clock()
    backend.submit(1, GenerateParams(prompt=prompt, raw=True, max_tokens=1, temperature=0))
    done = None
    while done is None:
        done = next((e for e in backend.step() if isinstance(e, Finished)), None)
    took = (clock() - began) * 1e3
    assert isinstance(done.result, Generated)
    return took, done.result.usage.prompt_tokens, done.result.usage.cached_tokens


def rest(backend: LlamaBackend) -> None:
    """What the worker does while nothing is asked."""
    while backend.tidy():
        pass


def turns(path: str, tokens: int, threads: int, rounds: int) -> str:
    times: dict[str, list[float]] = {name: [] for name in ("evaluated", "in cells", "parked", "from disk")}
    shares: dict[str, float] = {}

    def measure(name: str, backend: LlamaBackend, prompt: str) -> None:
        took, count, cached = ask(backend, prompt)
        times[name].append(took)
        shares[name] = cached / count

    for i in range(rounds):
        talk = f"{i} " + TEXT * (tokens // 15)
        with tempfile.TemporaryDirectory() as folder:
            backend = loaded(path, threads, folder)
            measure("evaluated", backend, talk)
            rest(backend)
            measure("in cells", backend, talk + TURN.format(1))
            rest(backend)
            ask(backend, f"Something else, {i}: " + TEXT * 3)
            rest(backend)
            measure("parked", backend, talk + TURN.format(2))
            backend.close()
            backend = loaded(path, threads, folder)
            measure("from disk", backend, talk + TURN.format(3))
            backend.close()
    said = ", ".join(f"{name} {statistics.median(t):.1f} ms ({shares[name]:.0%} known)" for name, t in times.items())
    return f"{tokens} tokens: {said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, nargs="+", default=[500, 2000, 6000])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    if args.cpu:
        global clock
        clock = time.process_time
    for tokens in args.tokens:
        print(turns(args.model, tokens, args.threads, args.rounds), flush=True)


if __name__ == "__main__":
    main()
