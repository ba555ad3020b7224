"""/metrics, as Prometheus reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.http.served import Served, serving
from threadrunner.http.dialects.metrics import of_daemon, of_http, text
from threadrunner.http.meter import BOUNDS, Meter, dialect_of


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    yield from serving()


LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\})? ([-+.e0-9]+)')


def samples(exposed: str) -> dict[str, float]:
    """Each line that is no comment; all must be well formed, each once, after its family's TYPE."""
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in exposed.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            matched = LINE.fullmatch(line)
            assert matched, line
            family = re.sub("_(bucket|sum|count)$", "", matched[1])
            assert (matched[1] in kinds or kinds.get(family) == "histogram") and line.rpartition(" ")[0] not in found
            found[line.rpartition(" ")[0]] = float(matched[3])
    return found


def test_what_was_asked_is_counted(served: Served) -> None:
    body = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
    for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
        assert served.post(path, body).status == 200
    assert served.post("/v1/messages", {**body, "model": "no-such"}).status == 404
    answer = served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = samples(answer.body.decode())
    for dialect, status in (("openai", 200), ("anthropic", 200), ("anthropic", 404), ("ollama", 200)):
        assert told[f'threadrunner_http_requests_total{{dialect="{dialect}",status="{status}"}}'] == 1
    assert told["threadrunner_up"] == 1 and told["threadrunner_http_generating"] == 0
    assert told['threadrunner_models{model="dummy",state="ready"}'] == 1
    assert told['threadrunner_answers_total{model="dummy"}'] == 3
    assert told['threadrunner_completion_tokens_total{model="dummy"}'] == 18
    assert told["threadrunner_time_to_first_token_seconds_count"] == 3
    assert told['threadrunner_time_to_first_token_seconds_bucket{le="+Inf"}'] == 3


def test_a_scrape_starts_no_daemon(served: Served) -> None:
    served.daemon.wire().call("shutdown")
    assert served.daemon.process
    served.daemon.process.wait(60)
    assert samples(served.get("/metrics").body.decode())["threadrunner_up"] == 0


def test_buckets_hold_those_below() -> None:
    meter = Meter()
    meter.buckets[0], meter.buckets[2], meter.buckets[-1] = 2, 1, 4
    told = samples(text(of_http(meter, 0)))
    counts = [told[f'threadrunner_time_to_first_token_seconds_bucket{{le="{bound}"}}'] for bound in (*BOUNDS, "+Inf")]
    assert counts == [2, 2, *[3] * 9, 7]


def test_labels_are_escaped_and_hold_no_path() -> None:
    model = {
        "name": '/home/me/"x"\n.gguf',
        "state": "ready",
        "rss_bytes": 1,
        "active": 0,
        "queued": 0,
        "cached_tokens": 0,
    }
    status = {"uptime_s": 1.0, "clients": 1, "models": [model], "work": [], "errors": {"Timeout": 2}}
    told = samples(text(of_daemon(status)))
    assert told[r'threadrunner_models{model="\"x\"\n.gguf",state="ready"}'] == 1
    assert told['threadrunner_errors_total{kind="Timeout"}'] == 2


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/messages/count_tokens", "anthropic"),
        ("/api/x", "ollama"),
        ("/v1/x", "openai"),
        ("/infill", "llama"),
        ("/é", "other"),
    ],
)
def test_few_dialects_whatever_is_asked(path: str, dialect: str) -> None:
    assert dialect_of(path) == dialect
