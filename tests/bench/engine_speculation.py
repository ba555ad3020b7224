"""What drafts gain: the same engine with and without them, in turns, on prompts of several kinds.

    python tests/bench/engine_speculation.py MODEL.gguf [--rounds 5] [--tokens 120] [--draft SMALL.gguf [--force]]

Each kind of prompt is asked with drafts off and on in alternating rounds, greedily, with a new number in it each round,
so that no answer was given before. Prints tokens a second, the ratio of medians, how many drafted tokens came true,
and in how many rounds both texts were the same (quantized weights: see SpeculativeDecoding). `--draft` adds a small
model as `draft_model` does; `--force` asks it whether that pays or not, for 3 tokens each time. `--cpu`: one thread,
and all times are processor time, for a machine that others use too; `--kinds story,program` leaves out the rest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.backends.base import Finished, ModelSpec
from threadrunner.backends.llama import LlamaBackend

PASSAGE = (
    "The committee met on Tuesday, 14 March, in room {n} of the old library building. Present were Dr. Ilse Marten, "
    "Prof. Okafor, Mr. Lindqvist and two guests from the harbour authority. The chair opened the meeting at 9:15 and "
    "thanked everyone for coming despite the snow. The budget for repairs of the north pier, 48,{n} euros in all, was "
    "approved with four votes against one."
)
CODE = """\
class Account{n}:
    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner = owner
        self.balance = balance

    def deposit(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("the amount must be positive")
        self.balance += amount

    def withdraw(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("the amount must be positive")
        if amount > self.balance:
            raise ValueError("not enough money")
        self.balance -= amount
"""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "first_name_of_the_person": {"type": "string", "maxLength": 20},
        "last_name_of_the_person": {"type": "string", "maxLength": 20},
        "year_in_which_the_person_was_born": {"type": "integer"},
        "country_of_residence_of_the_person": {"type": "string", "maxLength": 20},
    },
    "required": [
        "first_name_of_the_person",
        "last_name_of_the_person",
        "year_in_which_the_person_was_born",
        "country_of_residence_of_the_person",
    ],
    "additionalProperties": False,
}
KINDS: dict[str, dict[str, Any]] = {
    "copy a passage": {"prompt": f"Repeat the following text exactly, word by word.\n\n{PASSAGE}"},
    "edit code": {"prompt": f"Rename `amount` to `cents` in this code. Answer with all of the code.\n\n{CODE}"},
    "story": {"prompt": "Tell me a story about a fox and {n} bears."},
    "explain": {"prompt": "Explain in detail how a bill becomes a law, in {n} words."},
    "program": {"prompt": "Write a Python program that prints the first {n} primes, with comments."},
    "schema": {"prompt": "Make up person number {n}.", "json_schema": SCHEMA},
}


def ask(backend: LlamaBackend, id: int, params: GenerateParams) -> Generated:
    backend.submit(id, params)
    while True:
        for event in backend.step():
            if isinstance(event, Finished):
                assert isinstance(event.result, Generated)
                return event.result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--draft", default="")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--kinds", default=",".join(KINDS))
    options = parser.parse_args()
    backend = LlamaBackend()
    if options.cpu:
        time.monotonic = time.process_time
    threads = 1 if options.cpu else 0
    spec = ModelSpec(name="model", path=options.model, context=4096, draft_path=options.draft, threads=threads)
    backend.load(spec, lambda done, total: None)
    speculation = backend.loaded.engine.speculation
    small = speculation.drafter._small
    if options.force and small is not None:
        small._best = lambda chance, longest, beside, batch: (min(3, longest), 2.0)  # type: ignore[method-assign]
    print(f"{'':16} {'without':>8} {'with':>8} {'ratio':>6}  accepted/drafted  same text")
    for kind in options.kinds.split(","):
        asked = KINDS[kind]
        rates: dict[str, list[float]] = {"off": [], "always": []}
        same = 0
        before = {name: (r.drafted, r.accepted) for name, r in speculation.drafter.records.items()}
        for round_ in range(options.rounds):
            texts = set()
            prompt = asked["prompt"].replace("{n}", str(200 + 7 * round_))
            params = GenerateParams(**{**asked, "prompt": prompt}, max_tokens=options.tokens, temperature=0.0)
            order = ("off", "always") if round_ % 2 else ("always", "off")
            for policy in order:
                speculation.policy = policy  # type: ignore[assignment]
                answer = ask(backend, round_, params)
                rates[policy].append(answer.timings.tokens_per_second)
                texts.add(answer.text)
                # what was just said must not be what the other half of the round finds
                speculation.drafter.forget_recent()
            same += len(texts) == 1
        off, on = (statistics.median(rates[policy]) for policy in ("off", "always"))
        records = speculation.drafter.records
        gained = ", ".join(
            f"{name} {r.accepted - before[name][1]}/{r.drafted - before[name][0]}"
            for name, r in records.items()
            if r.drafted > before[name][0]
        )
        print(
            f"{kind:16} {off:8.1f} {on:8.1f} {on / off:6.2f}  {gained or 'none tried':32}  {same}/{options.rounds}",
            flush=True,
        )
    seconds = {n: f"{speculation.drafter.costs.of(n) * 1e3:.1f}" for n in (1, 2, 4, 8, 16)}
    print(f"ms for a batch of tokens: {seconds}")
    if small is not None:
        print(f"ms for one of the small model's tokens: {small.costs.steps.of(1) * 1e3:.1f}")
    backend.close()


if __name__ == "__main__":
    main()
