"""Decoding of one sequence after those beside it have ended, its cells being high among empty ones.

    python tests/bench/engine_left_behind.py MODEL.gguf [--neighbours 7] [--tokens 800] [--rounds 5]

Each round times llama_decode for the same request in three states, one after the other: alone; as the last of several
that began together, when the others have ended and left the cells, and it stays where it is; and the same where it may
move down. Figures are medians of a token's time over `--measured` tokens, `--skip` tokens after the others' end; ratios
are of the rounds. With `--threads 1` the clock is the processor time of this process, which others that compute at the
same time change little.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

from engine_decode import conversation, rest

from threadrunner.api.generation import GenerateParams
from threadrunner.backends.base import ModelSpec
from threadrunner.backends.llama import LlamaBackend

STATES = ("alone", "stays", "moves")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--neighbours", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip", type=int, default=120)
    parser.add_argument("--measured", type=int, default=60)
    args = parser.parse_args()
    backend = LlamaBackend()
    backend.load(ModelSpec(name="bench", path=args.model, threads=args.threads), lambda done, total: None)
    backend.loaded.threads.due = lambda wall: False  # type: ignore[method-assign]
    timed(backend, args, "moves")  # evaluates the prompts, which come from memory after that; the context grows
    rounds = []
    for _ in range(args.rounds):
        rounds.append([timed(backend, args, state) for state in STATES])
        print(", ".join(f"{name} {ms:.2f}" for name, ms in zip(STATES, rounds[-1], strict=True)), flush=True)
    alone, stays, moves = map(statistics.median, zip(*rounds, strict=True))
    stay, move = (statistics.median(r[i] / r[0] for r in rounds) for i in (1, 2))
    print(f"ms a token alone {alone:.2f}, stays {stays:.2f} ({stay:.3f} x alone), moves {moves:.2f} ({move:.3f})")
    print(backend.gauges())
    backend.close()


IDS = itertools.count()


def timed(backend: LlamaBackend, args: argparse.Namespace, state: str) -> float:
    """Milliseconds of llama_decode a token."""
    engine = backend.loaded.engine
    while engine.cells.evict_one():
        pass
    engine._compaction._allowed = state == "moves"
    neighbours = 0 if state == "alone" else args.neighbours
    ids = [next(IDS) for _ in range(neighbours + 1)]
    for i, id in enumerate(ids):
        text = conversation(args.neighbours - neighbours + i, args.tokens)
        backend.submit(id, GenerateParams(prompt=text, raw=True, temperature=0, ignore_eos=True))
    while engine.queued or not all(s.generated for s in engine.cells.running):
        backend.step()
    for id in ids[:-1]:
        backend.cancel(id)
    for _ in range(args.skip):
        backend.step()
    clock = time.process_time if args.threads == 1 else time.perf_counter
    times = decode_times(backend, args.measured, clock)
    backend.cancel(ids[-1])
    rest(backend)
    return statistics.median(times) * 1e3


def decode_times(backend: LlamaBackend, steps: int, clock: Callable[[], float]) -> list[float]:
    engine = backend.loaded.engine
    times, decode = [], engine.context.decode

    def clocked() -> int:
        began = clock()
        status = decode()
        times.append(clock() - began)
        return status

    engine.context.decode = clocked  # type: ignore[method-assign]
    for _ in range(steps):
        backend.step()
    engine.context.decode = decode  # type: ignore[method-assign]
    assert engine.active == 1, "it has ended too soon"
    return times


if __name__ == "__main__":
    main()
