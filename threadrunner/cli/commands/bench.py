"""bench: how fast a model is on this machine, through the daemon, as a user experiences it.

Each figure is the median of some runs. Prompts are new words each time, so that no cache has seen them.
"""

from __future__ import annotations

import json
import threading
import time

from threadrunner import exits
from threadrunner.api.errors import ApiError
from threadrunner.cli import render, request
from threadrunner.cli.arguments import Parser, add_json, add_model
from threadrunner.client import autostart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from random import Random
    from typing import Any

_RUNS = 5
_ANSWER_TOKENS = 64
_PREFILL_WORDS = 400  # of the prompt that prefill is measured with
_CLIENTS = (1, 4, 8)


def arguments(parser: Parser) -> None:
    add_model(parser)
    add_json(parser)


def run(options: Namespace) -> int:
    import random  # only now, as `statistics`: completions, which many shells start with, import every command

    target = request.target(options.model, options.backend, options.offline)
    rng = random.Random()
    rows: list[tuple[str, float, str]] = []
    model = _measure(target, rng, rows)
    if options.json:
        figures = [{"what": what, "value": round(value, 2), "unit": unit} for what, value, unit in rows]
        render.put(1, json.dumps({"model": model, "figures": figures}, ensure_ascii=False) + "\n")
    else:
        render.out(f"{model}\n" + "".join(f"  {what:38} {value:9.1f} {unit}\n" for what, value, unit in rows))
    return exits.OK


def _measure(target: dict[str, Any], rng: Random, rows: list[tuple[str, float, str]]) -> str:
    import statistics

    loaded = request.ask("models.load", target)
    model: str = loaded["model"]
    _say("cold starts")
    cold = [_cold(target, model) for _ in range(3)]
    rows.append(("load, and first token of a cold model", statistics.median(cold), "ms"))
    _say("first tokens")
    _ask(target, "Hello", 1)
    warm = [_ask(target, f"Hello {n}", 1)["ttft_ms"] for n in range(_RUNS)]
    rows.append(("first token, warm", statistics.median(warm), "ms"))
    _say("prefill")
    rows.append(("prefill", statistics.median(_prefill(target, rng) for _ in range(3)), "tok/s"))
    for clients in _CLIENTS:
        _say(f"decode, {clients} at once")
        speed = statistics.median(_decode(target, rng, clients) for _ in range(3))
        rows.append((f"decode, {clients} client{'s' if clients > 1 else ''}", speed, "tok/s"))
    return model


def _cold(target: dict[str, Any], model: str) -> float:
    connection = autostart.connect()
    connection.call("models.unload", {"model": model})
    connection.close()
    return float(_ask(target, "Hello", 1)["ttft_ms"])


def _prefill(target: dict[str, Any], rng: Random) -> float:
    answer = _generate(target, _words(rng, _PREFILL_WORDS), 1)
    usage, timings = answer["usage"], answer["timings"]
    return float((usage["prompt_tokens"] - usage["cached_tokens"]) / max(timings["prefill_ms"], 1e-3) * 1e3)


def _decode(target: dict[str, Any], rng: Random, clients: int) -> float:
    """Tokens per second of all clients together, from the first request's start to the last one's end."""
    counts: list[int] = []
    failures: list[ApiError] = []

    def client(text: str) -> None:
        try:
            counts.append(_generate(target, text, _ANSWER_TOKENS)["usage"]["completion_tokens"])
        except ApiError as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(_words(rng, 4),)) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts) / (time.perf_counter() - began)


def _ask(target: dict[str, Any], text: str, tokens: int) -> dict[str, float]:
    timings: dict[str, float] = _generate(target, text, tokens)["timings"]
    return timings


def _generate(target: dict[str, Any], text: str, tokens: int) -> dict[str, Any]:
    """Raw, so that a model without a chat template is measured too, and in the same way."""
    params = {**target, "prompt": text, "raw": True, "max_tokens": tokens, "temperature": 0.7, "stream": False}
    connection = autostart.connect()
    try:
        return connection.call("generate", params)
    finally:
        connection.close()


def _words(rng: Random, count: int) -> str:
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 7))) for _ in range(count))


def _say(what: str) -> None:
    render.say(f"measuring {what} …")
