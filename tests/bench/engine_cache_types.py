"""What a KV cache of another type costs in time: prefill and decode of one client, rounds in turn.

    python tests/bench/engine_cache_types.py MODEL.gguf [TYPE ...] [--tokens N] [--rounds N] [--threads N]

Each round of each type: a prompt of N tokens that no cache has, then 64 tokens. Medians. Memory is as `status` says.
"""

from __future__ import annotations

import argparse
import statistics

from threadrunner.api.generation import GenerateParams
from threadrunner.backends.base import Finished, Hardware, ModelSpec
from threadrunner.backends.llama import LlamaBackend

DECODED = 64


def loaded(args: argparse.Namespace, kind: str) -> tuple[LlamaBackend, int]:
    """The backend, and the bytes of its cache."""
    backend = LlamaBackend()
    hardware = Hardware(cache_type_k=kind, cache_type_v=kind)
    spec = ModelSpec(name="m", path=args.model, threads=args.threads, context=args.tokens + 256, hardware=hardware)
    return backend, backend.load(spec, lambda done, total: None).facts["cache_bytes"]


def ask(backend: LlamaBackend, number: int, tokens: int) -> tuple[float, float]:
    """Tokens a second of the prompt, and of the answer."""
    text = " ".join(f"{(7919 * n + 104729 * number) % 99991}" for n in range(tokens))
    prompt = backend.loaded.vocab.detokenize(backend.loaded.vocab.tokenize(text)[:tokens])
    backend.submit(number, GenerateParams(prompt=prompt, raw=True, temperature=0, max_tokens=DECODED, ignore_eos=True))
    while True:
        for event in backend.step():
            if isinstance(event, Finished):
                timings = event.result.timings
                return 1e3 * tokens / timings.prefill_ms, timings.tokens_per_second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("types", nargs="*", default=["f16", "q8_0", "q4_0"])
    parser.add_argument("--tokens", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    backends = {kind: loaded(args, kind) for kind in args.types or ["f16", "q8_0"]}
    rates: dict[str, list[tuple[float, float]]] = {kind: [] for kind in backends}
    for number in range(args.rounds):
        for kind, (backend, _) in backends.items():
            rates[kind].append(ask(backend, number, args.tokens))
    for kind, (_, size) in backends.items():
        prefill, decode = (statistics.median(rate[which] for rate in rates[kind]) for which in (0, 1))
        print(f"{kind}: {size / 1e6:.0f} MB, prefill {prefill:.0f} tokens/s, decode {decode:.1f} tokens/s")


if __name__ == "__main__":
    main()
