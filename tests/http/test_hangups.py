"""A client that goes away ends what it asked for, wherever that is, and nothing else."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import python_path
from tests.http.served import JSON, Served, listening, sse
from tests.http.test_llama import coder_daemon
from tests.support import PATIENCE, Daemon, Wire

PATH = "/v1/chat/completions"


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "default", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def trouble(plugin: Path) -> Iterator[Served]:
    """Before a backend whose answers never end. `hanging` is the name of a model whose load does not."""
    daemon = Daemon(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))
    (daemon.home / "config.toml").write_text('[aliases]\n"hang*" = "hang"\n')
    yield from listening(daemon)


def begun(served: Served, body: dict[str, Any]) -> http.client.HTTPConnection:
    """A request that has been sent."""
    connection = served.open()
    connection.request("POST", PATH, json.dumps(body), JSON)
    return connection


def until(wire: Wire, **wanted: int) -> None:
    """Ask the daemon again and again until its models have that many requests of a kind, all together."""
    end = time.monotonic() + PATIENCE
    while (now := open_requests(wire, *wanted)) != wanted:
        assert time.monotonic() < end, now


def open_requests(wire: Wire, *names: str) -> dict[str, int]:
    models = wire.call("status")["models"]
    return {name: sum(model[name] for model in models) for name in names}


def test_in_mid_stream_and_never_anothers(trouble: Served) -> None:
    wire = trouble.daemon.wire()
    body = chat("drip", stream=True)
    with sse(trouble, PATH, body) as kept:
        with sse(trouble, PATH, body) as dropped:
            next(dropped), next(dropped)
            until(wire, active=2)
        until(wire, active=1)
        said = [next(kept)["choices"][0]["delta"] for _ in range(20)]
        assert {"content": "drip "} in said
    until(wire, active=0)


def test_before_the_first_byte_of_an_answer_that_is_not_streamed(trouble: Served) -> None:
    wire = trouble.daemon.wire()
    kept, dropped = begun(trouble, chat("drip")), begun(trouble, chat("drip"))
    until(wire, active=2)
    dropped.close()
    until(wire, active=1)
    kept.close()
    until(wire, active=0)


def test_in_the_queue() -> None:
    """More than the engine takes at once; all of them go."""
    for served in listening(coder_daemon()):
        with served.daemon.wire() as wire:
            asked = {"prompt": "abc", "n_predict": 900, "ignore_eos": True, "stream": True}
            connections = [served.open() for _ in range(40)]
            for connection in connections:
                connection.request("POST", "/completion", json.dumps(asked), JSON)
            while open_requests(wire, "queued") == {"queued": 0}:
                pass
            for connection in connections:
                connection.close()
            until(wire, active=0, queued=0)


@pytest.mark.parametrize("stream", [False, True])
def test_while_the_model_loads(trouble: Served, stream: bool) -> None:
    wire = trouble.daemon.wire()
    connection = begun(trouble, {**chat("x", stream=stream), "model": "hanging"})
    while not [model for model in wire.call("status")["models"] if model["state"] == "starting"]:
        pass
    connection.close()
    # The daemon ends a load that no request waits for, once it may go: that is what unload waits for here.
    wire.call("models.unload", model="hang")
    assert trouble.post(PATH, chat("x")).status == 200


def test_half_a_body_and_gone(trouble: Served) -> None:
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", trouble.port)) as plain:
            plain.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            )
            plain.sendall(b'Content-Length: 1000\r\n\r\n{"model"')
    # It may still hear of the last hang-ups: until then it is busy, and says so; a place that were lost would stay so.
    asked = (trouble.get("/health").status for _ in range(1000))
    assert next((status for status in asked if status != 429), 429) == 200


def test_the_worker_dies_in_mid_stream(trouble: Served) -> None:
    """What has begun as a stream ends as one, with the error in the dialect's shape, and without [DONE]."""
    with sse(trouble, PATH, chat("drip", stream=True)) as events:
        next(events), next(events)
        (worker,) = trouble.daemon.workers()
        os.kill(worker, signal.SIGKILL)
        *_, last = events
    assert last["error"]["kind"] == "WorkerCrashed" and last["error"]["type"] == "server_error"
    with sse(trouble, "/completion", {"prompt": "drip", "stream": True}) as events:
        next(events)
        (worker,) = trouble.daemon.workers()
        os.kill(worker, signal.SIGKILL)
        *_, last = events
    assert last["error"]["code"] == 500


def test_an_error_before_the_first_byte_is_a_status(trouble: Served) -> None:
    answer = trouble.post(PATH, chat("crash SIGKILL", stream=True))
    assert answer.status == 500 and answer.headers["x-should-retry"] == "false"
    assert answer.json["error"]["kind"] == "WorkerCrashed"


def test_a_stream_ends_with_serve_and_says_so(trouble: Served) -> None:
    other = Served(trouble.daemon)
    with sse(other, PATH, chat("drip", stream=True)) as events, sse(other, "/models/sse") as news:
        next(events), next(events)
        other.process.send_signal(signal.SIGINT)
        *_, last = events
        assert list(news) == []
    assert last["error"]["type"] == "unavailable_error" and "ending" in last["error"]["message"]
    assert other.close() == 0
    until(trouble.daemon.wire(), active=0)


def test_a_drain_lets_answers_finish_and_nothing_new_in(trouble: Served) -> None:
    """Eight megabytes that a client reads late are an answer that is under way for as long as it wants."""
    other = Served(trouble.daemon, "--drain", "60")
    kept = other.open()
    kept.connect()
    with sse(other, PATH, chat("wide 8000", stream=True)) as events, sse(other, "/models/sse") as news:
        next(events)
        other.process.send_signal(signal.SIGTERM)
        assert list(news) == []
        ready = other.get("/ready")
        assert (ready.status, ready.json["why"]) == (503, "ending") and other.get("/health").status == 200
        kept.request("POST", PATH, json.dumps(chat("x")), JSON)
        late = kept.getresponse()
        assert late.status == 503 and late.headers["retry-after"] and late.headers["connection"] == "close"
        *_, last = events
    kept.close()
    assert last["choices"][0]["finish_reason"] == "stop"
    assert other.process.wait(PATIENCE) == 0 == other.close()


def test_a_drain_has_an_end(trouble: Served) -> None:
    other = Served(trouble.daemon, "--drain", "0.1")
    with sse(other, PATH, chat("drip", stream=True)) as events:
        next(events)
        other.process.send_signal(signal.SIGTERM)
        *_, last = events
    assert "ending" in last["error"]["message"]
    assert other.process.wait(PATIENCE) == 0 == other.close()


def test_a_daemon_that_dies_is_replaced_and_one_that_is_stopped_ends_its_streams(plugin: Path) -> None:
    daemon = Daemon(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))
    (daemon.home / "config.toml").write_text("drain = 0.1\n")
    for served in listening(daemon):
        assert served.post(PATH, chat("x")).status == 200
        daemon.kill()
        # Before the first byte of an answer it is asked for once more, of a daemon that is started for it.
        assert served.post(PATH, chat("x")).status == 200
        with Wire(daemon.socket) as wire, sse(served, PATH, chat("drip", stream=True)) as events:
            next(events), next(events)
            os.kill(wire.call("status")["pid"], signal.SIGTERM)
            *_, last = events
            while wire.read() is not None:
                pass
        # What has begun is never asked for again.
        assert last["error"]["kind"] in ("ShuttingDown", "Disconnected", "RequestCancelled"), last
