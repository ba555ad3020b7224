"""What a token costs on its way from the backend to the client's program, in each process.

    python -m tests.bench.token_way [TOKENS [PACED [MODEL.gguf]]]

Microseconds of processor time a token, in the worker, the daemon and the shell's client, for a backend that computes
nothing:
  - TOKENS (default 20,000) as fast as they come, so that many are read and written at a time;
  - PACED (default 1,000) with 2 ms between two, as a model's are: each wakes every process;
  - with MODEL, 256 tokens of its own: what is not the worker's finds a core that computes, and cold caches.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import PLUGIN, python_path
from tests.support import Daemon, pip_install
from threadrunner.client import blocking

TICK = os.sysconf("SC_CLK_TCK")


def processor_us(pid: int) -> float:
    """Microseconds of processor time since its start. /proc/PID/stat counts ticks of 10 ms; schedstat nanoseconds, of
    one thread, so all of them are added."""
    try:
        tasks = Path(f"/proc/{pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e3
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK * 1e6


def stream(daemon: Daemon, prompt: str, backend: str, tokens: int, took: Callable[[str], None]) -> None:
    """Read that many tokens of one answer."""
    connection = blocking.dial(daemon.socket)
    assert connection
    wanted: dict[str, Any] = {"prompt": prompt, "backend": backend, "stream": True}
    if backend == "llama":
        wanted |= {"max_tokens": tokens, "temperature": 0, "model": os.environ["BENCH_MODEL"]}
    seen = 0
    for event, payload in connection.events(blocking.EncodedRequest("generate", wanted)):
        if event == "token":
            seen += 1
            took(payload["text"])
            if seen == tokens:
                break
    connection.close()


def measure(what: str, daemon: Daemon, prompt: str, backend: str, tokens: int) -> None:
    texts: list[str] = []
    stream(daemon, prompt if backend == "trouble" else "warm up", backend, 5, texts.append)
    texts.clear()
    (worker,) = [m["pid"] for m in daemon.wire().call("status")["models"] if m["backend"] == backend]
    pids = {"worker": worker, "daemon": daemon.pid, "client": os.getpid()}
    before = {name: processor_us(pid) for name, pid in pids.items()}
    began = time.monotonic()
    stream(daemon, prompt, backend, tokens, texts.append)
    wall = time.monotonic() - began
    words = len(texts) if backend == "llama" else sum(text.count(" ") for text in texts) + 1
    cost = {name: (processor_us(pid) - before[name]) / words for name, pid in pids.items()}
    shown = "   ".join(f"{name} {us:6.1f}" for name, us in cost.items())
    print(f"{what:24} {shown}   us a token; {words} tokens in {len(texts)} messages, {wall:.2f} s")


def main(tokens: str = "20000", paced: str = "1000", model: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        plugin = pip_install(PLUGIN, Path(folder))
        daemon = Daemon(THREADRUNNER_LOG="warning", PYTHONPATH=python_path(plugin)).start()
        try:
            measure("as fast as they come", daemon, "word " * int(tokens), "dummy", 1 << 60)
            measure("2 ms between two", daemon, "drip", "trouble", int(paced))
            if model:
                os.environ["BENCH_MODEL"] = model
                measure("a model's", daemon, "Write a long story.", "llama", 256)
        finally:
            daemon.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
