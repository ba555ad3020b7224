"""Memory of a worker beside llama-server, with the same cells and as each is by default.

    python -m tests.bench.memory MODEL.gguf LLAMA_SERVER

Resident MiB (the weights included, which both map) once a short prompt was answered: by default, and with 8,192 cells
from the start on (`cache_ram = 0`, so that the context does not grow, and `context = 4096`, of which there are two).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.bench.peer import Peer
from tests.bench.shell import ours, theirs
from tests.support import Daemon, Wire

MIB = 1 << 20


def resident(pid: int) -> dict[str, float]:
    """MiB by kind."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {key: int(size) / 1024 for key, size in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}


def worker(model: str, **options: str) -> tuple[dict[str, float], int]:
    """Of a worker that has answered, and its cells."""
    variables = {f"THREADRUNNER_{name.upper()}": value for name, value in options.items()}
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=model, THREADRUNNER_THREADS="2", **variables)
    daemon.start()
    try:
        wire = Wire(daemon.socket)
        ours(wire, 16)
        (found,) = wire.call("status")["models"]
        return resident(found["pid"]), found["facts"]["cells"]
    finally:
        daemon.close()


def server(binary: str, model: str, *options: str) -> dict[str, float]:
    with Peer(binary, model, "-t", "2", *options) as peer:
        theirs(peer.port, 16)
        return resident(peer.process.pid)


def row(what: str, parts: dict[str, float], beside: dict[str, float] | None = None) -> None:
    kinds: Iterable[str] = ("Rss", "Anonymous")
    shown = ", ".join(f"{kind} {parts[kind]:.0f} MiB" for kind in kinds)
    print(f"{what:58} {shown}" + (f", ratio {parts['Rss'] / beside['Rss']:.2f}" if beside else ""), flush=True)


def main(model: str, binary: str) -> None:
    peer = server(binary, model, "-c", "8192", "-np", "1")
    row("llama-server -c 8192 -np 1", peer)
    same, cells = worker(model, context="4096", cache_ram="0")
    row(f"worker, {cells} cells", same, peer)
    usual, cells = worker(model)
    row(f"worker as it is by default ({cells} cells so far)", usual, peer)


if __name__ == "__main__":
    main(*sys.argv[1:3])
