"""What several answers are worth: sums and extractions made here, answered once, voted on, and checked.

    python -m tests.bench.vote MODEL.gguf [--tasks 24] [--n 8] [--kind sums|orders] [--temperature 0.8] [--seed 1]

Each task is asked through the daemon's socket: greedily; `n` times with all answers awaited, which tells how good one
sample is on average, the vote of all, and whether any is right; by a vote that stops early; and with a check that knows
the right answer, as a test suite would, so that its first right answer ends the request. For each: the share that is
right with its 95 % interval (Wilson's; for the mean a bootstrap over tasks), seconds and generated tokens a task.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import Daemon, Wire
from threadrunner.api.votes import Vote
from threadrunner.backends.votes.keys import key_of

PATTERN = r"-?\d+"
ITEMS = ("nails", "lamps", "chairs", "cables", "pumps", "filters")
CITIES = ("Bonn", "Porto", "Oslo", "Lima", "Kyoto", "Quito")
NAMES = ("Ada Byron", "Karl Ott", "Mei Lin", "Ivo Roth", "Sara Diaz")
DAYS = ("Monday", "Tuesday", "Friday", "Sunday")
ORDER = {
    "type": "object",
    "properties": {
        "order": {
            "type": "object",
            "properties": {
                "customer": {"type": "string"},
                "item": {"enum": list(ITEMS)},
                "quantity": {"type": "integer"},
                "city": {"enum": list(CITIES)},
            },
            "required": ["customer", "item", "quantity", "city"],
        }
    },
    "required": ["order"],
}


class Task(NamedTuple):
    params: dict[str, Any]
    vote: dict[str, Any]
    right: str
    """The key of a right answer."""


def sums(dice: random.Random) -> Task:
    a, b, c = dice.randint(21, 99), dice.randint(21, 99), dice.randint(3, 20)
    said = f"What is {a} + {b} - {c}? Work it out step by step, in two short lines."
    vote = {"pattern": PATTERN}
    return Task({"prompt": said, "max_tokens": 80}, vote, str(a + b - c))


def orders(dice: random.Random) -> Task:
    name, item, city, day = dice.choice(NAMES), dice.choice(ITEMS), dice.choice(CITIES), dice.choice(DAYS)
    count, had, other = dice.randint(2, 40), dice.randint(2, 9), dice.choice([c for c in CITIES if c != city])
    said = (
        f"Hello, {name} here. Last {day} I had {had} from you, now please send {count} {item} to my shop in {city}. "
        f"The bill goes to {other} again.\n\nFill in the order as JSON."
    )
    right = {"order": {"customer": name, "item": item, "quantity": count, "city": city}}
    vote = {"field": "order"}
    key = key_of(Vote(field="order"), json.dumps(right))
    assert key
    return Task({"prompt": said, "max_tokens": 64, "json_schema": ORDER}, vote, key)


KINDS: dict[str, Callable[[random.Random], Task]] = {"sums": sums, "orders": orders}


class Tried(NamedTuple):
    right: float
    seconds: float
    tokens: int


class Asker:
    def __init__(self, wire: Wire, n: int, temperature: float) -> None:
        self._wire = wire
        self._n = n
        self._temperature = temperature

    def greedy(self, task: Task, _seed: int) -> Tried:
        result, seconds = self._asked(**task.params, temperature=0)
        return Tried(self._is_right(task, result["text"]), seconds, result["usage"]["completion_tokens"])

    def all(self, task: Task, seed: int) -> dict[str, Tried]:
        result, seconds = self._voted(task, seed, early_stop=False, **task.vote)
        right = [choice.get("key") == task.right for choice in result["choices"]]
        tokens = result["usage"]["completion_tokens"]
        mean = Tried(statistics.mean(right), seconds / self._n, tokens // self._n)
        vote = Tried(result["vote"].get("key") == task.right, seconds, tokens)
        return {"one sample, mean": mean, "vote, all awaited": vote, "any": Tried(any(right), seconds, tokens)}

    def vote(self, task: Task, seed: int) -> Tried:
        result, seconds = self._voted(task, seed, **task.vote)
        return Tried(result["vote"].get("key") == task.right, seconds, result["usage"]["completion_tokens"])

    def check(self, task: Task, seed: int) -> Tried:
        params = {"n": self._n, "temperature": self._temperature, "seed": seed, "vote": {"by": "client"}}
        began = time.perf_counter()
        id = self._wire.begin("generate", **task.params, **params)
        seen = 0
        while (message := self._wire.read()) is not None:
            if message.get("method") == "candidate":
                seen += 1
                right = self._is_right(task, message["params"]["text"])
                if right or seen == self._n:
                    index = message["params"]["index"] if right else None
                    choice = {"request": id, "candidate": index}
                    self._wire.send({"jsonrpc": "2.0", "method": "choose", "params": choice})
            elif message.get("id") == id:
                break
        assert message is not None
        tokens = message["result"]["usage"]["completion_tokens"] if "result" in message else 0
        return Tried("result" in message, time.perf_counter() - began, tokens)

    def _voted(self, task: Task, seed: int, **vote: Any) -> tuple[dict[str, Any], float]:
        return self._asked(**task.params, n=self._n, temperature=self._temperature, seed=seed, vote=vote)

    def _asked(self, **params: Any) -> tuple[dict[str, Any], float]:
        began = time.perf_counter()
        response, _ = self._wire.until(self._wire.begin("generate", stream=False, **params))
        seconds = time.perf_counter() - began
        if response.get("error", {}).get("data", {}).get("kind") == "NoneChosen":  # no answer has a key
            texts = response["error"]["data"]["choices"]
            empty = {"text": "", "choices": [{} for _ in texts], "vote": {}, "usage": {"completion_tokens": 0}}
            return empty, seconds
        assert "result" in response, response
        return response["result"], seconds

    def _is_right(self, task: Task, text: str) -> bool:
        return key_of(Vote(**task.vote), text) == task.right


def wilson(right: float, of: int) -> tuple[float, float]:
    """The 95 % interval of a share. E. B. Wilson, Probable inference, the law of succession, JASA 22 (1927)."""
    z, share = 1.96, right / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(shares: list[float]) -> tuple[float, float]:
    """The 95 % interval of a mean over tasks, whose samples are not independent within a task."""
    dice = random.Random(1)
    means = sorted(statistics.mean(dice.choices(shares, k=len(shares))) for _ in range(2000))
    return means[50], means[1949]


def report(kind: str, n: int, tried: dict[str, list[Tried]]) -> None:
    print(f"\n{kind}, {len(tried['greedy'])} tasks, n = {n}\n")
    print("| | right | 95 % | seconds | tokens |\n|---|---|---|---|---|")
    for name, ones in tried.items():
        share = statistics.mean(one.right for one in ones)
        whole = "mean" not in name
        low, high = wilson(share * len(ones), len(ones)) if whole else bootstrap([one.right for one in ones])
        seconds, tokens = (statistics.mean(float(one[i]) for one in ones) for i in (1, 2))
        print(f"| {name} | {share:.0%} | {low:.0%} to {high:.0%} | {seconds:.2f} | {tokens:.0f} |")


def measured(asker: Asker, kind: str, tasks: int, seed: int) -> dict[str, list[Tried]]:
    dice = random.Random(seed)
    tried: dict[str, list[Tried]] = {}
    for number in range(tasks):
        task = KINDS[kind](dice)
        # The check comes before what has the same answers in full, whose tokens the cache would have.
        found = {"greedy": asker.greedy(task, seed)}
        first = seed + 1000 * number
        found |= {"vote, early stop": asker.vote(task, first), "check": asker.check(task, first)}
        found |= asker.all(task, first)
        if not found["check"].right:  # it was told of no usage: it has had all answers
            found["check"] = found["check"]._replace(tokens=found["any"].tokens)
        print(f"{kind} {number + 1}/{tasks}: {found}", file=sys.stderr)
        for name, one in found.items():
            tried.setdefault(name, []).append(one)
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=str(options.model.resolve())).start()
    try:
        with Wire(daemon.socket) as wire:
            wire.sock.settimeout(None)
            asker = Asker(wire, options.n, options.temperature)
            asker.greedy(KINDS["orders"](random.Random(0)), 0)  # loads the model, and what makes matchers
            for kind in [options.kind] if options.kind else KINDS:
                report(kind, options.n, measured(asker, kind, options.tasks, options.seed))
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
