"""GET /metrics: counts and gauges in Prometheus' text format. A scrape starts no daemon and loads no model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from threadrunner.client import autostart
from threadrunner.http import asking
from threadrunner.http.gateway import Gateway
from threadrunner.http.meter import BOUNDS, Meter
from threadrunner.http.names import without_path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, object], float]
"""Labels and a value; a label "" is no label but the end of the name."""


class Metric(NamedTuple):
    """One metric, as it is exposed."""

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]


def routes(gateway: Gateway) -> list[Route]:
    async def metrics(_request: Request) -> Response:
        asking.need("metrics", "the metrics")
        status = await gateway.request("status", {}) if await asyncio.to_thread(_daemon_is_there) else None
        families = [*of_http(gateway.meter, len(gateway.exchanges)), *of_daemon(status)]
        return Response(text(families), media_type=CONTENT_TYPE)

    return [Route("/metrics", metrics)]


def _daemon_is_there() -> bool:
    """Blocking."""
    connection = autostart.find()
    if connection is None:
        return False
    connection.close()
    return True


def of_http(meter: Meter, running: int) -> list[Metric]:
    """What `serve` knows itself."""
    requests = [({"dialect": dialect, "status": status}, n) for (dialect, status), n in sorted(meter.requests.items())]
    return [
        Metric("threadrunner_http_requests_total", "counter", "Requests that were answered, by status.", requests),
        *_of_keys(meter),
        Metric("threadrunner_http_generating", "gauge", "Answers under way.", [({}, running)]),
        Metric(
            "threadrunner_time_to_first_token_seconds",
            "histogram",
            "From a request's arrival at the daemon to its answer's first token, loads included.",
            _histogram(meter),
        ),
    ]


def _of_keys(meter: Meter) -> list[Metric]:
    """Where keys are asked for."""
    asked: list[Sample] = [({"key": key, "status": status}, n) for (key, status), n in sorted(meter.by_key.items())]
    used: list[Sample] = [({"key": key, "kind": kind}, n) for (key, kind), n in sorted(meter.tokens.items())]
    over: list[Sample] = [({"key": key, "limit": limit}, n) for (key, limit), n in sorted(meter.over.items())]
    if not asked:
        return []
    return [
        Metric("threadrunner_http_key_requests_total", "counter", "Requests of each key, by status.", asked),
        Metric("threadrunner_http_key_refused_total", "counter", "Requests over a limit of their key, by limit.", over),
        Metric("threadrunner_http_key_tokens_total", "counter", "Tokens of each key; cached are of prompt.", used),
    ]


def _histogram(meter: Meter) -> list[Sample]:
    """Each bucket has the ones below it too."""
    counts = list(accumulate(meter.buckets))
    buckets = [({"": "_bucket", "le": bound}, count) for bound, count in zip((*BOUNDS, "+Inf"), counts, strict=True)]
    return [*buckets, ({"": "_sum"}, meter.seconds), ({"": "_count"}, counts[-1])]


def of_daemon(status: dict[str, Any] | None) -> list[Metric]:
    """What the daemon says; None: there is none."""
    up = Metric("threadrunner_up", "gauge", "Whether the daemon runs.", [({}, status is not None)])
    if status is None:
        return [up]
    return [
        up,
        Metric("threadrunner_uptime_seconds", "gauge", "Since the daemon started.", [({}, status["uptime_s"])]),
        Metric("threadrunner_clients", "gauge", "Connections to the daemon.", [({}, status["clients"])]),
        *_of_models(status["models"]),
        *_of_work(status["work"]),
        Metric(
            "threadrunner_errors_total",
            "counter",
            "Requests of all clients that ended in an error.",
            [({"kind": kind}, count) for kind, count in sorted(status["errors"].items())],
        ),
    ]


def _of_models(models: list[dict[str, Any]]) -> list[Metric]:
    def gauge(name: str, help: str, member: str) -> Metric:
        return Metric(
            name, "gauge", help, [({"model": without_path(model["name"])}, model[member]) for model in models]
        )

    states = [({"model": without_path(model["name"]), "state": model["state"]}, 1.0) for model in models]
    return [
        Metric("threadrunner_models", "gauge", "Models that are loaded, or being so, by state.", list(states)),
        gauge("threadrunner_memory_bytes", "Resident memory of a model's process.", "rss_bytes"),
        gauge("threadrunner_running", "Requests that a model works on.", "active"),
        gauge("threadrunner_waiting", "Requests in a model's queue.", "queued"),
        gauge("threadrunner_cache_tokens", "Tokens in a model's cache.", "cached_tokens"),
    ]


def _of_work(work: list[dict[str, Any]]) -> list[Metric]:
    def counter(name: str, help: str, member: str) -> Metric:
        return Metric(name, "counter", help, [({"model": without_path(one["model"])}, one[member]) for one in work])

    return [
        counter("threadrunner_answers_total", "Answers of all clients that were completed.", "requests"),
        counter("threadrunner_prompt_tokens_total", "Tokens of prompts.", "prompt_tokens"),
        counter("threadrunner_prompt_tokens_cached_total", "Those that were not evaluated again.", "cached_tokens"),
        counter("threadrunner_completion_tokens_total", "Tokens of answers.", "completion_tokens"),
    ]


def text(families: Iterable[Metric]) -> str:
    """In the exposition format."""
    lines = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        lines += [_line(family.name, labels, value) for labels, value in family.samples]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: Mapping[str, object], value: float) -> str:
    name += str(labels.get("", ""))
    said = ",".join(f'{key}="{_escaped(str(label))}"' for key, label in labels.items() if key)
    number = f"{float(value):.10g}"
    return f"{name}{{{said}}} {number}" if said else f"{name} {number}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
