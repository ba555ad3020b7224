"""HumanEval-Infilling's large sets, by a sample: how many middles pass after the engine's stops and the filters.

    python tests/bench/lsp_infilling_sets.py DATA.jsonl[.gz] --say FILE --model MODEL.gguf [--more N]
    python tests/bench/lsp_infilling_sets.py DATA.jsonl[.gz] --replay FILE

The sets (openai/human-eval-infilling: 1,033 single lines, 5,815 multiple) take hours on two cores. So problems are
asked in an order that depends on their names alone, and any number of the first ones is a sample of the set. --say
writes what the model says without any stops, and goes on where FILE ends; --replay leads that through the stops and
filters of now and runs the problems' tests. With each rate: Wilson's interval, in which the whole set's is 19 times of
20.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent.parent.parent), str(Path(__file__).parent)]

from engine_infill import passes, read
from languages.asking import Asker
from languages.places import Span
from languages.replaying import stopped

from threadrunner.lsp.suggest import filters
from threadrunner.lsp.suggest.cursor import Cursor
from threadrunner.lsp.suggest.settings import Settings

WHOLE = Settings(max_time_ms=600_000, max_tokens=128, prefix_chars=100_000, suffix_chars=100_000)


def sample(path: str) -> list[dict[str, Any]]:
    problems = read(path, 100_000)
    return sorted(problems, key=lambda problem: zlib.crc32(str(problem["task_id"]).encode()))


def span(problem: dict[str, Any]) -> Span:
    before, middle, behind = problem["prompt"], problem["canonical_solution"], problem["suffix"]
    return Span("", "answer.py", "python", before + middle + behind, len(before), len(before + middle))


def say(problems: list[dict[str, Any]], path: Path, model: str, more: int) -> None:
    said = {json.loads(line)["task"] for line in path.read_text().splitlines()} if path.exists() else set()
    left = [problem for problem in problems if problem["task_id"] not in said][:more]
    asker = Asker(model, WHOLE, raw=True, threads=1)
    with path.open("a") as out:
        for number, pieces, finish in asker.answers([span(problem) for problem in left]):
            line = {"task": left[number]["task_id"], "pieces": pieces, "finish": finish}
            out.write(json.dumps(line) + "\n")
            out.flush()


def rate(passed: int, of: int) -> str:
    """With Wilson's interval of 95 %."""
    z, share = 1.96, passed / of
    middle, reach = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low, high = ((middle + sign * reach) / (1 + z * z / of) for sign in (-1, 1))
    return f"{passed} of {of} pass, {100 * share:.1f} % ({100 * low:.0f} to {100 * high:.0f} %)"


def replay(problems: list[dict[str, Any]], path: Path) -> None:
    by_name = {problem["task_id"]: problem for problem in problems}
    said = [json.loads(line) for line in path.read_text().splitlines()]
    asked = [by_name[line["task"]] for line in said]
    engine, shown = [], []
    for problem, line in zip(asked, said, strict=True):
        text, cut = stopped(span(problem), line["pieces"], line["finish"] == "length", WHOLE)
        unfinished = not cut and line["finish"] == "length"
        engine.append(text)
        shown.append(filters.apply(text, Cursor(problem["prompt"], problem["suffix"], "python", unfinished)))
    for name, texts in (("after the stops", engine), ("after the filters", shown)):
        with ThreadPoolExecutor(2) as pool:
            passed = sum(pool.map(passes, asked, texts))
        exact = sum(t.rstrip() == p["canonical_solution"].rstrip() for t, p in zip(texts, asked, strict=True))
        print(f"{name}: {rate(passed, len(asked))}; exact {exact}, empty {sum(not t.strip() for t in texts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--model")
    parser.add_argument("--say", type=Path, metavar="FILE")
    parser.add_argument("--more", type=int, default=100_000)
    parser.add_argument("--replay", type=Path, metavar="FILE")
    args = parser.parse_args()
    problems = sample(args.data)
    if args.replay:
        replay(problems, args.replay)
    elif args.say and args.model:
        say(problems, args.say, args.model, args.more)
    else:
        parser.error("name --say FILE and --model MODEL, or --replay FILE")


if __name__ == "__main__":
    main()
