"""First token after a restart: KV state read from disk against the prompt evaluated again.

python tests/bench/engine_restore.py MODEL.gguf [--tokens 500 2000 6000] [--threads N]
"""

from __future__ import annotations

import argparse
import tempfile
import time

from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.backends.base import Finished, ModelSpec
from threadrunner.backends.llama import LlamaBackend

TEXT = "The quick brown fox jumps over the lazy dog while the band plays on. "


def first_token(path: str, prompt: str, threads: int, folder: str) -> tuple[float, int, int]:
    backend = LlamaBackend()
    spec = ModelSpec(name="m", path=path, threads=threads, cache_dir=folder, cache_bytes=1 << 30, fingerprint="bench")
    backend.load(spec, lambda done, total: None)
    began = time.perf_counter()
    backend.submit(1, GenerateParams(prompt=prompt, raw=True, max_tokens=1, temperature=0))
    done = None
    while done is None:
        done = next((e for e in backend.step() if isinstance(e, Finished)), None)
    took = (time.perf_counter() - began) * 1e3
    backend.close()
    assert isinstance(done.result, Generated)
    return took, done.result.usage.prompt_tokens, done.result.usage.cached_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, nargs="+", default=[500, 2000, 6000])
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    for tokens in args.tokens:
        prompt = TEXT * (tokens // 15)
        with tempfile.TemporaryDirectory() as folder:
            fresh, count, _ = first_token(args.model, prompt, args.threads, folder)
            restored, _, cached = first_token(args.model, prompt, args.threads, folder)
        print(f"{count} tokens: evaluated {fresh:.0f} ms, restored {restored:.0f} ms", end=" ")
        print(f"({cached} cached), {fresh / restored:.1f} x")


if __name__ == "__main__":
    main()
