"""Decoding beside a program that keeps a core busy, and llama-server's in one run.

    python -m tests.bench.crowded MODEL.gguf LLAMA_SERVER [ROUNDS]

One client each, 64 tokens streamed, rounds alternate; the busy program is a loop in Python on no core of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.bench.peer import Peer
from tests.bench.shell import OPTIONS, ours, theirs
from tests.support import Daemon

TOKENS = 64


def main(model: str, binary: str, rounds: int = 5) -> None:
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=model, THREADRUNNER_LOG="warning").start()
    try:
        with Peer(binary, model, *OPTIONS) as peer, daemon.wire() as wire:
            for busy in (0, 1, 2):
                programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
                try:
                    ours(wire, TOKENS), theirs(peer.port, 16)
                    pairs = [(ours(wire, TOKENS)[1], theirs(peer.port, TOKENS)[1]) for _ in range(rounds)]
                finally:
                    for program in programs:
                        program.kill()
                        program.wait()
                us, peers = zip(*pairs, strict=True)
                a, b = statistics.median(us), statistics.median(peers)
                line = f"{busy} busy programs: ours {a:6.1f} tok/s ({min(us):.1f} to {max(us):.1f})"
                print(f"{line}, llama-server {b:6.1f} tok/s ({min(peers):.1f} to {max(peers):.1f}), ratio {a / b:.1f}")
    finally:
        daemon.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
