"""What a changed model file costs those who use it.

    python -m tests.bench.reload MODEL.gguf [ROUNDS]

Prints the median of ROUNDS (default 7): from the rename of a new file to the first token of the new model, with nobody
waiting and with four clients who ask all the time; and how many of their requests failed.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.support import Daemon, Wire


def replaced(model: Path, source: Path, events: Wire, wire: Wire) -> float:
    """Milliseconds from the rename to the new model's first token."""
    fresh = model.with_suffix(".new")
    shutil.copyfile(source, fresh)
    began = time.perf_counter()
    fresh.replace(model)
    events.event("model.reloaded")
    wire.call("generate", prompt="Hello", max_tokens=1, temperature=0, model=str(model))
    return (time.perf_counter() - began) * 1e3


def measure(daemon: Daemon, model: Path, source: Path, rounds: int, clients: int) -> None:
    done, failed, answered = threading.Event(), [], []

    def client() -> None:
        wire = Wire(daemon.socket)
        while not done.is_set():
            response, _ = wire.until(wire.begin("generate", prompt="Say hi", max_tokens=8, model=str(model)))
            (failed if "error" in response else answered).append(response)
        wire.close()

    wire, events = daemon.wire(), daemon.wire()
    wire.call("generate", prompt="Hello", max_tokens=1, model=str(model))
    events.call("subscribe", events=["model.reloaded"])
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    times = [replaced(model, source, events, wire) for _ in range(rounds)]
    done.set()
    for thread in threads:
        thread.join()
    print(
        f"{clients} clients: rename to first token {statistics.median(times):7.0f} ms "
        f"({min(times):.0f} to {max(times):.0f}), "
        f"{rounds} reloads, {len(answered)} requests answered, {len(failed)} failed"
    )


def main(source: str, rounds: int = 7) -> None:
    folder = Path(tempfile.mkdtemp())
    model = folder / "m.gguf"
    shutil.copyfile(source, model)
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_LOG="warning", THREADRUNNER_CONTEXT="2048").start()
    try:
        for clients in (0, 4):
            measure(daemon, model, Path(source), rounds, clients)
    finally:
        daemon.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
