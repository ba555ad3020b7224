"""Constraints on a real model: are answers valid, what is held of JSON-Schema-Test-Suite, what does it cost?

    python tests/bench/constraints.py answers MODEL SCHEMAS.py [COUNT]   COUNT answers at temperature 1.5, by jsonschema
    python tests/bench/constraints.py suite FOLDER                       tests/draft2020-12 of JSON-Schema-Test-Suite
    python tests/bench/constraints.py speed MODEL                        tokens a second and first token, beside none
    python tests/bench/constraints.py first MODEL                        the process's first constraint, beside a reader

SCHEMAS.py has a dict `S` of schemas by name.
"""

from __future__ import annotations

import itertools
import json
import runpy
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.backends.harness import Loaded, greedy
from tests.engine.constraints.harness import accepts
from threadrunner.api.errors import InvalidGrammar
from threadrunner.backends.base import Failed
from threadrunner.engine.constraints.check import SchemaCheck
from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.llama.errors import BadGrammar

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 2, "maxItems": 6},
        "address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def answers(model: str, schemas: str, count: str = "1000") -> None:
    given: dict[str, Any] = runpy.run_path(schemas)["S"]
    found: Counter[str] = Counter()
    with Loaded(Path(model), context=4096, threads=2) as loaded:
        held = {}
        for name, schema in given.items():
            try:
                Constraint.of_schema(schema)
                SchemaCheck(schema).problem('"a"')
                SchemaCheck(schema).problem(
                    '{"a": "a"}'
                )  # a pattern with (?i) within is held, and Python cannot read it
                held[name] = schema
            except BadGrammar as error:
                print(f"refused: {name}: {error}")
        names = list(held)
        waiting = {}
        for seed in range(int(count)):
            name = names[seed % len(names)]
            prompt = f"An example of JSON for {json.dumps(held[name])[:300]}:\n"
            more = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": seed, "max_tokens": 100}
            waiting[loaded.submit(greedy(prompt, json_schema=held[name], stream=False, **more))] = name
            if len(waiting) == 16 or seed == int(count) - 1:
                _judge(loaded, waiting, held, found)
                waiting = {}
                print(f"{len(held)} of {len(given)} schemas held; answers: {dict(found)}", flush=True)


def _judge(loaded: Loaded, waiting: dict[int, str], schemas: dict[str, Any], found: Counter[str]) -> None:
    ends, _ = loaded.finish(*waiting)
    for id, end in ends.items():
        name = waiting[id]
        if isinstance(end, Failed):
            found["failed"] += 1
            print(f"failed: {name}: {end.message}")
        elif end.finish_reason == "length":
            found["cut short"] += 1
        elif problem := SchemaCheck(schemas[name]).problem(end.text):
            found["invalid"] += 1
            print(f"invalid: {name}: {problem}: {end.text[:100]!r}")
        else:
            found["valid"] += 1


def suite(folder: str) -> None:
    found: Counter[str] = Counter()
    for file in sorted(Path(folder).glob("*.json")):
        for group in json.loads(file.read_text()):
            try:
                constraint = Constraint.of_schema(group["schema"])
            except BadGrammar:
                found["schemas refused"] += 1
                continue
            found["schemas held"] += 1
            for test in group["tests"]:
                taken = accepts(constraint, json.dumps(test["data"], ensure_ascii=False))
                kind = "valid" if test["valid"] else "invalid"
                found[f"{kind} {'taken' if taken else 'refused'}"] += 1
                if taken and not test["valid"]:
                    print(f"taken: {file.stem}: {group['description']}: {test['description']}")
    print(dict(found))


def speed(model: str) -> None:
    with Loaded(Path(model), context=2048, threads=2) as loaded:
        prompt = "A person as JSON: "
        loaded.ask(greedy(prompt, max_tokens=8))
        began = time.monotonic()
        first = loaded.ask(greedy(prompt, json_schema=PERSON, max_tokens=1))
        print(
            f"first constraint of the process: {(time.monotonic() - began) * 1e3:.0f} ms, tokenizer and imports in it"
        )
        del first
        kinds: dict[str, dict[str, Any]] = {
            "none": {"ignore_eos": True},
            "any JSON": {"json_schema": True, "grammar": None},
            "a schema": {"json_schema": PERSON},
            "GBNF, never in the way": {"grammar": "root ::= [\\x00-\\U0010FFFF]*"},
        }
        for temperature in (0.0, 0.8):
            for name, params in kinds.items():
                took, ttft = [], []
                for seed in range(5):
                    result = loaded.ask(greedy(prompt, max_tokens=80, temperature=temperature, seed=seed, **params))
                    took.append(result.timings.decode_ms / max(1, result.usage.completion_tokens - 1))
                    ttft.append(result.timings.ttft_ms)
                print(
                    f"temperature {temperature}, {name}: {statistics.median(took):.2f} ms a token, "
                    f"first token after {statistics.median(ttft):.1f} ms"
                )


def first(model: str) -> None:
    with Loaded(Path(model), context=2048, threads=2) as loaded:
        prompt = "A person as JSON: "
        for _ in range(2):
            loaded.ask(greedy(prompt, max_tokens=8))
        reader = loaded.submit(greedy("Count: ", max_tokens=1500, ignore_eos=True))
        at: list[float] = []

        def step() -> list[int]:
            ended = []
            for event in loaded.backend.step():
                if event.id == reader:
                    at.append(time.monotonic())
                else:
                    ended.append(event.id)
            return ended

        while len(at) < 60:
            step()
        usual = statistics.median(b - a for a, b in itertools.pairwise(at))
        began, count = time.monotonic(), len(at)
        held = loaded.submit(greedy(prompt, json_schema=PERSON, max_tokens=1))
        while held not in step():
            pass
        took = time.monotonic() - began
        gaps = [b - a for a, b in itertools.pairwise(at[count - 1 :])]
        print(
            f"first constraint: its token after {took * 1e3:.0f} ms; its neighbour, a token in {usual * 1e3:.1f} ms "
            f"before, said {len(gaps)} meanwhile, the longest pause {max(gaps, default=took) * 1e3:.0f} ms"
        )


if __name__ == "__main__":
    try:
        {"answers": answers, "suite": suite, "speed": speed, "first": first}[sys.argv[1]](*sys.argv[2:])
    except (IndexError, KeyError, TypeError, InvalidGrammar):
        raise SystemExit(__doc__) from None
