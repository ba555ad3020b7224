"""HumanEval-Infilling: how many middles pass their problem's tests.

    python tests/bench/engine_infill.py MODEL.gguf DATA.jsonl[.gz] [--server LLAMA_SERVER] [--limit N] [--keys]
        [--cache TYPE]

With --server, llama-server's /infill answers the same problems in the same run and is cut by the same stops.
--keys replays typing instead: tokens evaluated for each key, on a line and across lines, in a window of 2,000 tokens.
Answers are run as Python in a child with limits on time and memory. Data: openai/human-eval-infilling.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from peer import Peer

from threadrunner.api.generation import InfillParams
from threadrunner.backends.base import Finished, Hardware, ModelSpec
from threadrunner.backends.llama import LlamaBackend
from threadrunner.engine.prompts.infill_ends import middle_ends

AT_ONCE = 4


def read(path: str, limit: int) -> list[dict[str, Any]]:
    data = Path(path).read_bytes()
    text = gzip.decompress(data) if path.endswith(".gz") else data
    return [json.loads(line) for line in text.splitlines()][:limit]


def passes(problem: dict[str, Any], middle: str) -> bool:
    program = problem["prompt"] + middle + problem["suffix"]
    program += f"\n{problem['test']}\ncheck({problem['entry_point']})\n"
    limits = lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # noqa: E731
    try:
        command = [sys.executable, "-I", "-c", program]
        done = subprocess.run(command, capture_output=True, timeout=6, preexec_fn=limits, stdin=subprocess.DEVNULL)
        return done.returncode == 0
    except subprocess.TimeoutExpired:
        return False


class Score:
    """Runs the tests beside the model."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._pool = ThreadPoolExecutor(1)
        self._passed: list[Future[bool]] = []
        self._exact = 0
        self._began = time.monotonic()

    def add(self, problem: dict[str, Any], middle: str) -> None:
        self._exact += middle == problem["canonical_solution"]
        self._passed.append(self._pool.submit(passes, problem, middle))
        if len(self._passed) % 20 == 0:
            print(f"  {self.name}: {len(self._passed)} answered", file=sys.stderr)

    def passed(self) -> list[bool]:
        return [future.result() for future in self._passed]

    def show(self) -> float:
        passed = self.passed()
        rate = 100 * sum(passed) / len(passed)
        seconds = time.monotonic() - self._began
        print(f"{self.name}: pass@1 {sum(passed)}/{len(passed)} = {rate:.1f} %, exact {self._exact}, {seconds:.0f} s")
        return rate


def ask_ours(backend: LlamaBackend, problems: list[dict[str, Any]]) -> float:
    score = Score("ours, infill")
    waiting = list(enumerate(problems))[::-1]
    open_ids: set[int] = set()
    while waiting or open_ids:
        while waiting and len(open_ids) < AT_ONCE:
            id, problem = waiting.pop()
            backend.submit(id, InfillParams(prefix=problem["prompt"], suffix=problem["suffix"], path=f"{id}.py"))
            open_ids.add(id)
        for event in backend.step():
            if isinstance(event, Finished):
                open_ids.discard(event.id)
                score.add(problems[event.id], event.result.text)
    return score.show()


def ask_peer(peer: Peer, problems: list[dict[str, Any]]) -> float:
    score = Score("llama-server /infill, our stops")
    raw = Score("llama-server /infill, raw")

    def ask(problem: dict[str, Any]) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port)
        body = {"input_prefix": problem["prompt"], "input_suffix": problem["suffix"], "n_predict": 128}
        connection.request("POST", "/infill", json.dumps({**body, "temperature": 0, "prompt": ""}))
        return json.loads(connection.getresponse().read())["content"]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for problem, text in zip(problems, pool.map(ask, problems), strict=True):
            ends = middle_ends(problem["prompt"], problem["suffix"], "python")
            raw.add(problem, text)
            score.add(problem, text[: ends.cut(text)])
    raw.show()
    return score.show()


def replay_keys(backend: LlamaBackend, problems: list[dict[str, Any]]) -> None:
    """Type a text into the middle of a file, a request a key, each answered before the next."""
    code = "\n\n".join(p["prompt"] + p["canonical_solution"] + p["suffix"] for p in problems)
    typed_line = "    result = sorted(set(values), key=lambda item: item[0] + 1)"
    typed_lines = code[20_000:20_300]
    for what, typed in (("60 keys on a line", typed_line[:60]), ("300 keys over several lines", typed_lines)):
        prefix, suffix = code[:9_000].rpartition("\n")[0] + "\n", "\n" + code[9_100:12_000]
        evaluated = []
        for i in range(len(typed) + 1):
            params = InfillParams(prefix=prefix + typed[:i], suffix=suffix, max_tokens=8, path=f"{what}.py")
            backend.submit(i, params)
            done = None
            while done is None:
                done = next((e for e in backend.step() if isinstance(e, Finished)), None)
            usage = done.result.usage
            evaluated.append(usage.prompt_tokens - usage.cached_tokens)
        keys = evaluated[1:]
        print(
            f"{what}: first request {evaluated[0]} of {usage.prompt_tokens} tokens; a key: mean "
            f"{statistics.mean(keys):.1f}, median {statistics.median(keys):.0f}, worst {max(keys)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data", type=str)
    parser.add_argument("--server")
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--keys", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cache", default="f16", metavar="TYPE", help="of the KV cache's keys and values")
    args = parser.parse_args()
    problems = read(args.data, args.limit)
    backend = LlamaBackend()
    hardware = Hardware(cache_type_k=args.cache, cache_type_v=args.cache)
    spec = ModelSpec(name=Path(args.model).stem, path=args.model, threads=args.threads, hardware=hardware)
    facts = backend.load(spec, lambda done, total: None).facts
    print(f"cache: {facts['cache']}")
    if args.keys:
        replay_keys(backend, problems)
        return
    ours = ask_ours(backend, problems)
    backend.close()
    if args.server:
        threads = ["-t", str(args.threads)] if args.threads else []
        with Peer(args.server, args.model, "-np", str(AT_ONCE), "-kvu", "-c", "16384", *threads) as peer:
            print(f"ratio {ours / ask_peer(peer, problems):.2f}")


if __name__ == "__main__":
    main()
