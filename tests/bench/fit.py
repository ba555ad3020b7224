"""What `models recommend` expects of a model, held against the real worker.

    python tests/bench/fit.py MODEL.gguf [MODEL.gguf …]

For each: bytes of memory with 2,048 tokens of context in use, and tokens a second of one client, expected and measured.
Goals: 15 % for memory, 35 % for speed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support import Daemon
from threadrunner import machine
from threadrunner.cli.fit import bandwidth, estimate
from threadrunner.daemon.gguf import header
from threadrunner.daemon.gguf.check import check_gguf

TOKENS = 2048


def main(models: list[str]) -> None:
    speed = bandwidth.measure(machine.physical_cores())
    here = estimate.Machine(None, speed)
    print(f"memory is read at {speed / 1e9:.1f} GB/s by {machine.physical_cores()} threads")
    columns = "{:42} {:>11} {:>9} {:>6}  {:>10} {:>9} {:>6}"
    print(columns.format("model", "MB expected", "measured", "ratio", "tok/s exp.", "measured", "ratio"))
    for path in models:
        row = described(path)
        expected = estimate.memory(row, TOKENS) / 1e6, estimate.speed(row, here)
        found = measured(path)
        ratios = [one / other for one, other in zip(expected, found, strict=True)]
        name = Path(path).name[:42]
        figures = [expected[0], found[0], ratios[0], expected[1], found[1], ratios[1]]
        print(columns.format(name, *(f"{figure:.{2 if i % 3 == 2 else 0}f}" for i, figure in enumerate(figures))))


def described(path: str) -> dict[str, Any]:
    """The row that the catalog would have of this file."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        keys = {name: value for name, (_, value) in header.read(file.fileno(), size).values.items()}
    kind = keys["general.architecture"]
    heads = keys.get(f"{kind}.attention.head_count_kv", keys[f"{kind}.attention.head_count"])
    width = (
        keys.get(f"{kind}.attention.key_length")
        or keys[f"{kind}.embedding_length"] // keys[f"{kind}.attention.head_count"]
    )
    layers = keys[f"{kind}.block_count"]
    return {
        "size_bytes": size, "parameters": size, "layers": layers, "kv_bytes": layers * heads * width * 4,
        "context": keys[f"{kind}.context_length"], "vocabulary": check_gguf(path).vocabulary,
    }  # fmt: skip


def measured(path: str) -> tuple[float, float]:
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_CONTEXT=str(TOKENS), THREADRUNNER_CACHE_RAM="0").start()
    try:
        wire = daemon.wire()
        speeds = []
        for seed in range(3):
            prompt = f"{seed} Once upon a time there was"
            answer = wire.call(
                "generate",
                model=path,
                prompt=prompt,
                raw=True,
                max_tokens=128,
                ignore_eos=True,
                temperature=0.7,
                stream=False,
            )
            speeds.append(answer["timings"]["tokens_per_second"])
        words = " ".join(f"word{i}" for i in range(TOKENS // 4))
        wire.call("generate", model=path, prompt=words, raw=True, max_tokens=1, context_overflow="truncate")
        (pid,) = daemon.workers()
        return machine.resident_bytes(pid) / 1e6, sorted(speeds)[1]
    finally:
        daemon.close()


if __name__ == "__main__":
    main(sys.argv[1:])
