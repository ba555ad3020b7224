"""How many calls of tools are valid, and what a grammar costs that never begins.

    python -m tests.bench.tools MODEL.gguf [--prompts 50] [--tokens 160] [--rounds 12]

First through the daemon's socket: prompts with two tools, the share of answers that are calls, and of the calls those
whose arguments fit their schema, under `required`, a named tool and `auto`, greedy and at temperature 1. Then in this
process: first token and decode of a prompt with tools that are not called, beside the same where no call is awaited.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any
from unittest import mock

from jsonschema import Draft202012Validator

from tests.support import Daemon, Wire
from threadrunner.api.chat import FunctionDefinition, Tool
from threadrunner.api.generation import GenerateParams
from threadrunner.backends import requests
from threadrunner.backends.base import Finished, ModelSpec, Piece
from threadrunner.backends.llama import LlamaBackend

FORECAST = {
    "name": "get_forecast",
    "description": "Weather forecast for a city",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "name of the city"},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "unit": {"enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "days"],
    },
}
SEARCH = {
    "name": "search_code",
    "description": "Search the project's files for a text",
    "parameters": {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "paths": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
            "case_sensitive": {"type": "boolean"},
        },
        "required": ["query"],
        "additionalProperties": False,
    },
}
TOOLS = [{"type": "function", "function": FORECAST}, {"type": "function", "function": SEARCH}]
SCHEMAS = {tool["name"]: Draft202012Validator(tool["parameters"]) for tool in (FORECAST, SEARCH)}
CITIES = [
    "Paris",
    "Oslo",
    "Lima",
    "Rome",
    "Bonn",
    "Cairo",
    "Delhi",
    "Quito",
    "Seoul",
    "Tunis",
    "Milan",
    "Porto",
    "Kyoto",
]
WORDS = [
    "parse_header",
    "TODO",
    "retry",
    "timeout",
    "Session",
    "connect_all",
    "license",
    "main",
    "checksum",
    "Vocab",
    "socket",
]
PROMPTS = [
    *(f"What will the weather be in {city} in the next {i % 6 + 2} days?" for i, city in enumerate(CITIES)),
    *(f"Give me the {i % 4 + 2} day forecast for {city} in fahrenheit." for i, city in enumerate(CITIES)),
    *(f"Find where {word} is used in this project." for word in WORDS),
    *(f"Search src and tests for {word!r}, minding upper case." for word in WORDS),
    "Is it going to rain in Vienna tomorrow?",
    "Look for 'deprecated' in docs.",
]


def answer(wire: Wire, prompt: str, choice: Any, tokens: int, temperature: float) -> dict[str, Any]:
    """The result; what was streamed must be the same."""
    id = wire.begin(
        "generate", prompt=prompt, tools=TOOLS, tool_choice=choice, max_tokens=tokens, temperature=temperature, seed=7
    )
    response, before = wire.until(id)
    result: dict[str, Any] = response["result"]
    streamed: dict[int, str] = {}
    for params in (message["params"] for message in before if message.get("method") == "token"):
        if params.get("kind") == "call":
            streamed[params["call"]["index"]] = streamed.get(params["call"]["index"], "") + params["text"]
    assert [*streamed.values()] == [call["function"]["arguments"] for call in result.get("tool_calls", [])]
    return result


def is_valid(call: dict[str, Any]) -> bool:
    try:
        arguments = json.loads(call["function"]["arguments"])
    except ValueError:
        return False
    return SCHEMAS[call["function"]["name"]].is_valid(arguments)


def shares(wire: Wire, prompts: list[str], choice: Any, tokens: int, temperature: float) -> None:
    answered = called = calls = valid = cut = 0
    for i, prompt in enumerate(prompts):
        which = choice if choice != "named" else {"function": {"name": (FORECAST, SEARCH)[i % 2]["name"]}}
        result = answer(wire, prompt, which, tokens, temperature)
        found = result.get("tool_calls", [])
        answered += 1
        called += bool(found)
        cut += result["finish_reason"] == "length"
        whole = found[: len(found) - (result["finish_reason"] == "length")]
        calls += len(whole)
        valid += sum(map(is_valid, whole))
    print(
        f"{choice:>9} t={temperature}: {called}/{answered} answers call, {valid}/{calls} whole calls valid, {cut} cut"
    )


def overhead(path: Path, rounds: int) -> None:
    backend = LlamaBackend()
    backend.load(ModelSpec(name="bench", path=str(path), threads=1), lambda done, total: None)
    tools = [Tool(FunctionDefinition(**tool)) for tool in (FORECAST, SEARCH)]
    usual: dict[str, Any] = {"max_tokens": 64, "temperature": 0.0, "ignore_eos": True}
    with_tools = GenerateParams(prompt="Tell me a long story about a fox.", tools=tools, **usual)
    times: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    for _ in range(rounds):
        # the same prompt, rendered too, but its answer is neither split nor watched for calls
        with mock.patch.object(requests, "steer", lambda *_: None):
            times["without"].append(timed(backend, with_tools))
        times["with"].append(timed(backend, with_tools))
    for i, what in enumerate(("first token", "decode of 63 tokens")):
        a, b = (statistics.median(found[i] for found in times[name][1:]) for name in times)
        times_ms = f"{a * 1e3:.1f} ms, watched for calls {b * 1e3:.1f} ms"
        print(f"{what}: {times_ms}: {(b / a - 1):+.1%}")
    backend.close()


def timed(backend: LlamaBackend, params: GenerateParams) -> tuple[float, float]:
    """Seconds to the first token, and from there to the end."""
    began = time.perf_counter()
    backend.submit(1, params)
    first = 0.0
    while True:
        for event in backend.step():
            if isinstance(event, Piece):
                first = first or time.perf_counter()
            if isinstance(event, Finished):
                assert not event.result.tool_calls  # type: ignore[union-attr]
                return first - began, time.perf_counter() - first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    prompts = PROMPTS[:: max(1, len(PROMPTS) // max(1, options.prompts))][: options.prompts]
    if prompts:
        daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=str(options.model.resolve())).start()
        try:
            with Wire(daemon.socket) as wire:
                wire.sock.settimeout(None)
                for temperature in (0.0, 1.0):
                    for choice in ("required", "named", "auto"):
                        shares(wire, prompts, choice, options.tokens, temperature)
        finally:
            daemon.close()
    if options.rounds:
        overhead(options.model, options.rounds)


if __name__ == "__main__":
    main()
