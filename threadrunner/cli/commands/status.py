"""status: the daemon and its models like `ps`, once, again and again, or for Prometheus."""

from __future__ import annotations

import os
import time

from threadrunner import exits
from threadrunner.api import errors
from threadrunner.cli import render
from threadrunner.client import autostart
from threadrunner.wire import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

_CLEAR = "\x1b[H\x1b[2J"


def run(options: Namespace) -> int:
    connection = autostart.find()
    if connection is None:
        raise errors.Unreachable("no daemon is running; the first prompt starts one")
    show = _json if options.json else metrics if options.metrics else text
    terminal = os.isatty(1)
    while True:
        shown = show(connection.call("status", {}))
        render.put(1, (_CLEAR if options.watch and terminal else "") + shown)
        if not options.watch:
            return exits.OK
        time.sleep(options.watch)


def _json(facts: dict[str, Any]) -> str:
    return messages.encode(facts).decode() + "\n"


def text(facts: dict[str, Any]) -> str:
    clients = facts["clients"]
    head = (
        f"daemon {facts['version']}, pid {facts['pid']}, up {render.duration(facts['uptime_s'])}, "
        f"{render.size(facts['rss_bytes'])}, {clients} client{'' if clients == 1 else 's'}\n"
    )
    if not facts["models"]:
        return f"{head}no model is loaded; the next prompt loads {facts['model']} (backend {facts['backend']})\n"
    work = {about["model"]: about for about in facts.get("work", [])}
    rows = [
        ("MODEL", "BACKEND", "STATE", "PID", "MEMORY", "CONTEXT", "ACTIVE", "QUEUED", "CACHED", "TOK/S", "UNLOADS IN")
    ]
    for model in facts["models"]:
        expires = model.get("expires_s")
        rate = work.get(model["name"], {}).get("tokens_per_second", 0)
        rows.append(
            (
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
        )
    failed = "".join(f"{model['name']}: {model['error']}\n" for model in facts["models"] if model.get("error"))
    return head + render.table(rows) + failed


def metrics(facts: dict[str, Any]) -> str:
    """Prometheus' text format, say for node_exporter's textfile collector."""
    lines: list[str] = []

    def family(name: str, kind: str, about: str, samples: list[tuple[dict[str, str], float]]) -> None:
        lines.append(f"# HELP threadrunner_{name} {about}\n# TYPE threadrunner_{name} {kind}\n")
        for labels, value in samples:
            inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
            lines.append(
                f"threadrunner_{name}{{{inside}}} {value:.15g}\n" if inside else f"threadrunner_{name} {value:.15g}\n"
            )

    family("info", "gauge", "The daemon's version and default backend.",
           [({"version": facts["version"], "backend": facts["backend"]}, 1)])  # fmt: skip
    family("uptime_seconds", "gauge", "Since the daemon was started.", [({}, facts["uptime_s"])])
    family("resident_bytes", "gauge", "Memory of the daemon itself.", [({}, facts["rss_bytes"])])
    family("clients", "gauge", "Open connections.", [({}, facts["clients"])])
    for name, member, about in (
        ("model_resident_bytes", "rss_bytes", "Memory of a model's worker."),
        ("model_context_tokens", "context", "Most tokens of one conversation."),
        ("model_active_requests", "active", "Requests under way."),
        ("model_queued_requests", "queued", "Requests that wait."),
        ("model_cached_tokens", "cached_tokens", "Tokens whose state is kept for the next prompt."),
        ("model_idle_seconds", "idle_s", "Since the last request ended."),
    ):
        family(name, "gauge", about, [(_labels(model), model[member]) for model in facts["models"]])
    family("model_ready", "gauge", "1 while the model can answer at once.",
           [(_labels(model), float(model["state"] == "ready")) for model in facts["models"]])  # fmt: skip
    for name, member, about in (
        ("requests_total", "requests", "Answers that were completed."),
        ("prompt_tokens_total", "prompt_tokens", "Tokens of prompts."),
        ("cached_prompt_tokens_total", "cached_tokens", "Tokens of prompts that were not evaluated again."),
        ("completion_tokens_total", "completion_tokens", "Tokens generated."),
    ):
        family(name, "counter", about, [({"model": about["model"]}, about[member]) for about in facts.get("work", [])])
    family("last_tokens_per_second", "gauge", "Of the last answer.",
           [({"model": about["model"]}, about["tokens_per_second"]) for about in facts.get("work", [])])  # fmt: skip
    family("errors_total", "counter", "Requests that ended in an error, by its kind.",
           [({"kind": kind}, count) for kind, count in sorted(facts.get("errors", {}).items())])  # fmt: skip
    return "".join(lines)


def _labels(model: dict[str, Any]) -> dict[str, str]:
    return {"model": model["name"], "backend": model["backend"]}


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
