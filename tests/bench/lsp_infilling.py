"""Infilling through the language server: what its filters do to what the engine says.

    python tests/bench/lsp_infilling.py MODEL.gguf DATA.jsonl[.gz] [--limit N] [--through N]

Each problem is asked of the daemon; its answer, and what the filters leave of it, are put in and the problem's tests
are run. The first `--through` problems are asked of `threadrunner lsp` too, as an editor would, and must say the same
as the filters (greedy, so they can): the rest of the way changes nothing. Then, rule by rule: how many suggestions
repeat what stands behind the cursor, and how many leave brackets unbalanced. Data: openai/human-eval-infilling.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent.parent.parent), str(Path(__file__).parent)]

from engine_infill import Score, read

from tests.lsp.editor import INLINE, Editor
from tests.support import Daemon, Wire
from threadrunner.lsp.suggest import filters
from threadrunner.lsp.suggest.cursor import Cursor
from threadrunner.syntax.languages import language_of
from threadrunner.syntax.scan import scan

TOKENS = 128
AT_ONCE = 8
SETTINGS = {
    "debounceMs": 0, "speculate": False, "maxTokens": TOKENS, "maxTimeMs": 600_000, "contextTokens": 0,
    "prefixChars": 20_000, "suffixChars": 20_000, "count": False,
}  # fmt: skip


def engine_alone(wire: Wire, problems: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, result) in the order of the answers; several at once, as the engine batches them."""
    waiting: dict[int, int] = {}
    left = list(enumerate(problems))[::-1]
    while left or waiting:
        while left and len(waiting) < AT_ONCE:
            number, problem = left.pop()
            id = wire.begin(
                "infill", prefix=problem["prompt"], suffix=problem["suffix"], path=f"{number}.py", language="python",
                max_tokens=TOKENS, stream=False,
            )  # fmt: skip
            waiting[id] = number
        message = wire.read()
        if message.get("id") in waiting:
            yield waiting.pop(message["id"]), message["result"]


def through_lsp(editor: Editor, problem: dict[str, Any], path: str) -> str:
    uri = f"file:///bench/{path}"
    editor.open(problem["prompt"] + problem["suffix"], uri)
    lines = problem["prompt"].split("\n")
    items = editor.inline(len(lines) - 1, len(lines[-1].encode("utf-16-le")) // 2, uri=uri)
    editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    if not items:
        return ""
    typed = len(lines[-1]) - items[0]["range"]["start"]["character"]
    return str(items[0]["insertText"][typed:])


def repeats(text: str, problem: dict[str, Any]) -> bool:
    """It ends with the line that comes next, or with the rest of the cursor's line."""
    tail, _, below = problem["suffix"].partition("\n")
    following = next((line.strip() for line in below.split("\n") if line.strip()), "")
    last = next((line.strip() for line in reversed(text.split("\n")) if line.strip()), "")
    return bool((len(tail.strip()) > 1 and text.rstrip().endswith(tail.strip())) or (following and last == following))


def unbalanced(text: str, problem: dict[str, Any]) -> bool:
    """The file's brackets do not add up with it, though they do with the right answer."""
    return _adds_up(problem, problem["canonical_solution"]) and not _adds_up(problem, text)


def _adds_up(problem: dict[str, Any], middle: str) -> bool:
    found = scan(problem["prompt"] + middle + problem["suffix"], language_of("python"))
    return not found.opened and not found.missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--through", type=int, default=10)
    parser.add_argument("--limit", type=int, default=10_000)
    args = parser.parse_args()
    problems = read(args.data, args.limit)
    alone, filtered = Score("engine alone"), Score("after the filters")
    after: dict[str, Counter[str]] = {}
    same = 0
    texts: list[tuple[int, str, str]] = []
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=args.model, THREADRUNNER_LOG="warning")
    editor = Editor(daemon.start().env, INLINE, initializationOptions=SETTINGS)
    try:
        wire = daemon.wire()
        wire.sock.settimeout(600)
        for done, (number, said) in enumerate(engine_alone(wire, problems), start=1):
            problem = problems[number]
            alone.add(problem, said["text"])
            at = Cursor(problem["prompt"], problem["suffix"], "python", said["finish_reason"] == "length")
            filtered.add(problem, shown := filters.apply(said["text"], at))
            texts.append((number, said["text"], shown))
            if number < args.through:
                through = through_lsp(editor, problem, f"{number}.py")
                same += through == shown
            for rule, text in [("(before)", said["text"]), *filters.steps(said["text"], at)]:
                counts = after.setdefault(rule, Counter())
                counts["shown"] += bool(text.strip())
                counts["repeats"] += repeats(text, problem)
                counts["unbalanced"] += unbalanced(text, problem)
            if done % 20 == 0:
                print(f"{done} problems", file=sys.stderr, flush=True)
        editor.close()
    finally:
        editor.process.kill()
        daemon.close()
    alone.show()
    filtered.show()
    for (number, said_text, shown), before, behind in zip(texts, alone.passed(), filtered.passed(), strict=True):
        if before != behind:
            print(f"  {'lost' if before else 'won'} by the filters: problem {number}, {said_text!r} shown as {shown!r}")
    print(f"through the LSP: the same text for {same} of {min(args.through, len(problems))}")
    print(f"{'after':24} shown  repeats  unbalanced, of {len(problems)}")
    for rule, counts in after.items():
        print(f"{rule:24} {counts['shown']:5}  {counts['repeats']:7}  {counts['unbalanced']:10}")


if __name__ == "__main__":
    main()
