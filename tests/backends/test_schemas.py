"""Sampled answers of a real model fit their schemas, at a temperature where it would write nearly anything."""

from __future__ import annotations

from tests.backends.harness import Loaded, greedy
from tests.engine.constraints.test_json_schema import SCHEMAS
from threadrunner.api.generation import Generated
from threadrunner.engine.constraints.check import SchemaCheck

WILD = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def test_answers_fit(smol: Loaded) -> None:
    asked = {
        smol.submit(greedy(f"JSON for {name}: ", json_schema=SCHEMAS[name][0], seed=seed, max_tokens=32, **WILD)): name
        for seed, name in enumerate([*SCHEMAS][2::3])
    }
    ends, _ = smol.finish(*asked)
    whole = 0
    for id, result in ends.items():
        assert isinstance(result, Generated), (asked[id], result)
        if result.finish_reason == "stop":
            whole += 1
            assert SchemaCheck(SCHEMAS[asked[id]][0]).problem(result.text) is None, (asked[id], result.text)
    assert whole >= 3


def test_candidates_and_penalties_do_not_loosen_a_schema(smol: Loaded) -> None:
    schema = SCHEMAS["0 to 100"][0]
    for more in ({"n": 4}, {"repeat_penalty": 1.5, "presence_penalty": 1.0}, {"logprobs": 2}, {"min_tokens": 30}):
        result = smol.ask(greedy("A number: ", json_schema=schema, seed=1, max_tokens=10, **WILD, **more))
        texts = [choice.text for choice in result.choices] if "n" in more else [result.text]
        assert all(0 <= int(text) <= 100 for text in texts)
