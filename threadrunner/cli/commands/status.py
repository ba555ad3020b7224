"""status: the daemon and its models like `ps`, once, repeatedly, or for Prometheus. Starts no daemon."""

from __future__ import annotations

import os
import time

from threadrunner import exits
from threadrunner.api import errors
from threadrunner.cli import render
from threadrunner.cli.arguments import Parser, converter
from threadrunner.cli.flags import DAY, number
from threadrunner.client import autostart, servings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from typing import Any

    Family = tuple[str, str, str, list[tuple[dict[str, str], float]]]
    """A metric: name, type, description, and its samples, each with its labels."""

_CLEAR = "\x1b[H\x1b[2J"


def arguments(parser: Parser) -> None:
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="the daemon's whole answer, as JSON")
    forms.add_argument("--metrics", action="store_true", help="in Prometheus' text format")
    repeat = "repeat, every second unless SECONDS is given"
    parser.add_argument("--watch", nargs="?", const=1.0, metavar="SECONDS", type=converter(_interval), help=repeat)


def _interval(text: str) -> float:
    seconds = number(text)
    if not 0.1 <= seconds <= DAY:  # time.sleep() refuses 1e10
        raise ValueError(f"expected 0.1 to {DAY} seconds, got {text}")
    return seconds


def run(options: Namespace) -> int:
    connection = autostart.find()
    if connection is None:
        render.out("" if options.json or options.metrics else served())
        raise errors.Unreachable("no daemon is running; the first prompt starts one")
    form = render.json_line if options.json else metrics if options.metrics else everything
    terminal = os.isatty(1)
    clear = _CLEAR if options.watch and terminal else ""
    while True:
        shown = form(connection.call("status", {}))
        render.put(1, clear + (render.printable(shown) if terminal else shown))
        if not options.watch:
            return exits.OK
        time.sleep(options.watch)


def everything(facts: dict[str, Any]) -> str:
    return text(facts) + served()


def served() -> str:
    """A line for each `threadrunner serve`."""
    return "".join(f"served at {serving.url}, pid {serving.pid}\n" for serving in servings.running())


def text(facts: dict[str, Any]) -> str:
    head = (
        f"daemon {facts['version']}, pid {facts['pid']}, up {render.duration(facts['uptime_s'])}, "
        f"{render.size(facts['rss_bytes'])}, {render.counted(facts['clients'], 'client')}\n"
    )
    if not facts["models"]:
        return f"{head}no model is loaded; the next prompt loads {facts['model']} (backend {facts['backend']})\n"
    rates = {work["model"]: work["tokens_per_second"] for work in facts.get("work", [])}
    rows = [
        ("MODEL", "BACKEND", "STATE", "PID", "MEMORY", "CONTEXT", "ACTIVE", "QUEUED", "CACHED", "TOK/S", "UNLOADS IN"),
        *(_row(model, rates.get(model["name"], 0)) for model in facts["models"]),
    ]
    failed = "".join(f"{model['name']}: {model['error']}\n" for model in facts["models"] if model.get("error"))
    return head + render.table(rows) + "".join(_more_lines(facts["models"])) + failed


def _more_lines(models: list[dict[str, Any]]) -> Iterator[str]:
    """What each loaded model has on GPUs or on another machine, and what went wrong beside the load."""
    for model in models:
        known = model.get("facts") or {}
        for device in known.get("devices") or []:
            size, free, total = (render.size(device[f"{which}_bytes"]) for which in ("model", "free", "total"))
            yield f"{model['name']}: {size} on {device['name']} ({device['description']}), {free} of {total} free\n"
        if host := known.get("host"):
            sent, received = known.get("sent_tokens", 0), known.get("received_tokens", 0)
            yield f"{model['name']}: at {host}, {sent} tokens sent, {received} received\n"
        for warning in known.get("warnings") or []:
            yield f"{model['name']}: {warning}\n"


def _row(model: dict[str, Any], rate: float) -> tuple[str, ...]:
    expires = model.get("expires_s")
    return (
        model["name"],
        model["backend"],
        model["state"],
        str(model["pid"] or "-"),
        render.size(model["rss_bytes"]),
        str(model["context"]),
        str(model["active"]),
        str(model["queued"]),
        str(model["cached_tokens"]),
        f"{rate:.1f}" if rate else "-",
        "-" if expires is None else render.duration(expires),
    )


def metrics(facts: dict[str, Any]) -> str:
    """Prometheus' text format, e.g. for node_exporter's textfile collector."""
    return "".join(_family(*family) for family in (*_daemon(facts), *_models(facts["models"]), *_work(facts)))


def _daemon(facts: dict[str, Any]) -> Iterator[Family]:
    labels = {"version": facts["version"], "backend": facts["backend"]}
    yield "info", "gauge", "The daemon's version and default backend.", [(labels, 1)]
    yield "uptime_seconds", "gauge", "Since the daemon was started.", [({}, facts["uptime_s"])]
    yield "resident_bytes", "gauge", "Memory of the daemon itself.", [({}, facts["rss_bytes"])]
    yield "clients", "gauge", "Open connections.", [({}, facts["clients"])]


def _models(models: list[dict[str, Any]]) -> Iterator[Family]:
    for name, member, description in (
        ("model_resident_bytes", "rss_bytes", "Memory of a model's worker."),
        ("model_context_tokens", "context", "Maximum tokens of one conversation."),
        ("model_active_requests", "active", "Requests under way."),
        ("model_queued_requests", "queued", "Requests that wait."),
        ("model_cached_tokens", "cached_tokens", "Tokens whose state is kept for the next prompt."),
        ("model_idle_seconds", "idle_s", "Since the last request ended."),
    ):
        yield name, "gauge", description, [(_labels(model), model[member]) for model in models]
    on_gpus = [
        ({**_labels(model), "device": device["name"]}, device["model_bytes"])
        for model in models
        for device in (model.get("facts") or {}).get("devices") or []
    ]
    yield "model_device_bytes", "gauge", "Memory of a GPU that a model has.", on_gpus
    ready = [(_labels(model), float(model["state"] == "ready")) for model in models]
    yield "model_ready", "gauge", "1 while the model can answer at once.", ready


def _work(facts: dict[str, Any]) -> Iterator[Family]:
    work = facts.get("work", [])
    for name, member, description in (
        ("requests_total", "requests", "Answers that were completed."),
        ("prompt_tokens_total", "prompt_tokens", "Tokens of prompts."),
        ("cached_prompt_tokens_total", "cached_tokens", "Tokens of prompts that were not evaluated again."),
        ("completion_tokens_total", "completion_tokens", "Tokens generated."),
    ):
        yield name, "counter", description, [({"model": done["model"]}, done[member]) for done in work]
    rates = [({"model": done["model"]}, done["tokens_per_second"]) for done in work]
    yield "last_tokens_per_second", "gauge", "Of the last answer.", rates
    errors_by_kind = [({"kind": kind}, count) for kind, count in sorted(facts.get("errors", {}).items())]
    yield "errors_total", "counter", "Requests that ended in an error, by its kind.", errors_by_kind


def _family(name: str, kind: str, description: str, samples: list[tuple[dict[str, str], float]]) -> str:
    lines = [f"# HELP threadrunner_{name} {description}\n# TYPE threadrunner_{name} {kind}\n"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"threadrunner_{name}{f'{{{inside}}}' if inside else ''} {value:.15g}\n")
    return "".join(lines)


def _labels(model: dict[str, Any]) -> dict[str, str]:
    return {"model": model["name"], "backend": model["backend"]}


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
