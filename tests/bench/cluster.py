"""What Ray adds: the same requests to a replica through Ray's proxy and to `threadrunner serve`, by turns.

    python -m tests.bench.cluster WHAT MODEL.gguf [ROUNDS]

WHAT is one of these (default 7 rounds):
  - hop: milliseconds to the first piece of a warm request, and tokens a second, streamed by 1 and by 8 clients. Both
    compute with one thread less than there are cores: with all, what is measured is who gets them;
  - busy: the same with all cores;
  - two: tokens a second of 16 clients over two replicas of one thread each, and over one;
  - gone: from a client's hang-up to an engine that is idle, and from kill -9 of one of two replicas to the next answer
    and to two replicas again;
  - start: `cluster up` to its end, and what all its processes take.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.serving import alone, connect, pairs, request, row, serving, streamed
from tests.cluster.rig import Rig, eventually

DIRECT = "serve"
PATH = "/v1/chat/completions"


def table(name: str, model: str, replicas: int, threads: int) -> str:
    options = f"options = {{threads = {threads}}}"
    return f'[models.{name}]\nmodel = "{model}"\nreplicas = {replicas}\ncpus = 0.1\n{options}\n'


@contextlib.contextmanager
def started(*tables: str) -> Iterator[Rig]:
    rig = Rig("".join(tables))
    try:
        done = rig.run("up")
        assert done.returncode == 0, done.stderr
        yield rig
    finally:
        rig.close()


def busy(model: str, rounds: int) -> None:
    _beside_serve(model, rounds, os.cpu_count() or 1)


def hop(model: str, rounds: int) -> None:
    _beside_serve(model, rounds, max((os.cpu_count() or 1) - 1, 1))


def _beside_serve(model: str, rounds: int, threads: int) -> None:
    with started(table("one", model, 1, threads)) as rig, serving(model, THREADRUNNER_THREADS=str(threads)) as served:
        sides = ((rig.port, "/one" + PATH), (served.port, PATH))

        def first(port: int, path: str) -> float:
            return streamed(port, ["Write about the sea."], 1, path)[0]

        took = pairs(rounds * 3, lambda: first(*sides[0]), lambda: first(*sides[1]))
        row("first token, warm", "ms", *took, DIRECT)
        print(f"    Ray's part: {statistics.median(a - b for a, b in zip(*took, strict=True)):.1f} ms")
        for count in (1, 8):
            prompts = [f"Write about the sea, the harbour and the number {i}." for i in range(count)]
            tokens = 128 if count == 1 else 48

            def one(port: int, path: str, prompts: list[str] = prompts, tokens: int = tokens) -> float:
                return streamed(port, prompts, tokens, path)[1]

            speeds = pairs(rounds, lambda: one(*sides[0]), lambda: one(*sides[1]))
            row(f"decode, {count} clients", "tok/s", *speeds, DIRECT)


def two(model: str, rounds: int) -> None:
    prompts = [f"Write about the sea, the harbour and the number {i}." for i in range(16)]
    with started(table("two", model, 2, 1), table("one", model, 1, 1)) as rig:

        def both(name: str) -> float:
            return streamed(rig.port, prompts, 32, f"/{name}{PATH}")[1]

        row(
            "16 clients, two replicas", "tok/s", *pairs(rounds, lambda: both("two"), lambda: both("one")), "one replica"
        )


def gone(model: str, rounds: int) -> None:
    with started(table("one", model, 1, 1), table("two", model, 2, 1)) as rig:
        alone("from a hang-up to idle", [_cancelled(rig) for _ in range(rounds)])
        answers, wholes = zip(*(_killed(rig) for _ in range(2)), strict=True)
        alone("kill -9 of a replica, next answer", list(answers))
        alone("kill -9 of a replica, two again", list(wholes))


def _cancelled(rig: Rig) -> float:
    def busy() -> bool:
        return any(slot["is_processing"] for slot in rig.ask("/one/slots").json)

    client = connect(rig.port)
    client.sendall(request("Write about the sea.", 2000, "/one" + PATH))
    while b'"content":"' not in client.recv(1 << 16).replace(b'"content":""', b""):
        pass
    assert busy()
    client.close()
    began = time.perf_counter()
    while busy():
        pass
    return (time.perf_counter() - began) * 1e3


def _killed(rig: Rig) -> tuple[float, float]:
    """Milliseconds to the next answer by that name, asked for again and again, and until there are two replicas."""
    before = rig.replicas("two")
    victim, replica = next(iter(before.items()))
    os.kill(replica["pid"], signal.SIGKILL)
    began = time.perf_counter()

    def answered() -> bool:
        return rig.ask("/two" + PATH, {"model": "default", "messages": [{"role": "user", "content": "a"}],
                                       "max_tokens": 1}, timeout=30).status == 200  # fmt: skip

    eventually(answered)
    answer = time.perf_counter() - began
    # `status` is a process that takes more than a second: two of them are this figure's error.
    eventually(lambda: len(found := rig.replicas("two")) == 2 and victim not in found)
    return answer * 1e3, (time.perf_counter() - began) * 1e3


def start(model: str, rounds: int) -> None:
    took: list[float] = []
    for _ in range(min(rounds, 3)):
        began = time.perf_counter()
        with started(table("one", model, 1, 1)) as rig:
            took.append((time.perf_counter() - began) * 1e3)
            print(f"    {len(rig.marked())} processes, {sum(map(_pss, rig.marked())) / 1e3:.0f} MB (PSS)")
    alone("cluster up", took)


def _pss(pid: int) -> int:
    """kB."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return 0


if __name__ == "__main__":
    what = {"hop": hop, "busy": busy, "two": two, "gone": gone, "start": start}[sys.argv[1]]
    what(str(Path(sys.argv[2]).resolve()), int(sys.argv[3]) if sys.argv[3:] else 7)
