"""What is told of a cluster, from what Ray knows."""

from __future__ import annotations

from typing import Any

import pytest

from threadrunner.cluster import report, settings, words

TEAM = settings.checked({"models": {"small": {"model": "smollm2:135m"}}}, "team")


def replica(state: str = "RUNNING", node: str | None = "n1") -> dict[str, Any]:
    return {"state": state, "node": node, "address": "10.0.0.1" if node else None, "pid": 7, "id": "r"}


def app(status: str = "RUNNING", *replicas: dict[str, Any], message: str = "", cpus: float = 1.0) -> dict[str, Any]:
    return {
        "status": status, "route": "/small", "message": message, "asks": {"num_cpus": cpus, "num_gpus": 0.0},
        "wanted": 2, "replicas": list(replicas),
    }  # fmt: skip


def node(free: float = 0.0, alive: bool = True, **more: float) -> dict[str, Any]:
    return {"address": "10.0.0.1", "alive": alive, "id": "n1", "has": {"CPU": 4.0}, "free": {"CPU": free, **more}}


def test_a_row_for_each_model() -> None:
    found = {"applications": {"small": app("RUNNING", replica(), replica("STARTING"))}, "nodes": []}
    _, row = report.rows(TEAM, found)
    assert row == ("small", "running", "1 of 2", "10.0.0.1", "http://127.0.0.1:8770/small/v1")


def test_machines_that_have_gone_are_not_counted() -> None:
    assert report.machines({"nodes": [node(), node(alive=False)]}) == "1 node: 10.0.0.1; 4 cores"


def test_the_address_that_a_client_is_told() -> None:
    wide = settings.checked(
        {"listen": "[::]:443", "address": "10.0.0.1", "keys": "auto", "tls": {"certificate": "/a", "key": "/b"},
         "models": {"small": {"model": "x"}}}, "team",
    )  # fmt: skip
    assert report.url(wide, "/small") == "https://10.0.0.1:443/small"
    assert report.url(wide, "/") == "https://10.0.0.1:443"


@pytest.mark.parametrize(
    ("found", "nodes", "said"),
    [
        (app("RUNNING", replica()), [node()], ""),
        (app("DEPLOYING", replica("STARTING")), [node()], ""),
        (app("DEPLOYING", replica("STARTING", None)), [node(free=0.5)], report.NO_PLACE),
        (app("DEPLOYING", replica("STARTING", None)), [node(free=2.0)], ""),  # not placed yet, but there is room
        (app("DEPLOYING", replica("STARTING", None)), [node(free=2.0, alive=False)], report.NO_PLACE),
        (app("DEPLOY_FAILED", message="Traceback: ⟦ModelNotFound: no x⟧ in f()"), [node()], "ModelNotFound: no x"),
    ],
)
def test_why_it_does_not_run(found: dict[str, Any], nodes: list[dict[str, Any]], said: str) -> None:
    assert report.problem(found, nodes) == said


def test_a_label_and_memory_are_asked_for_too() -> None:
    asks = {"num_cpus": 1.0, "memory": 100, "resources": {"big": 0.001}}
    assert report.has_room({"CPU": 1.0, "memory": 100.0, "big": 1.0}, asks)
    assert not report.has_room({"CPU": 1.0, "memory": 99.0, "big": 1.0}, asks)
    assert not report.has_room({"CPU": 1.0, "memory": 100.0}, asks)


def test_a_deployment_is_over_when_nothing_will_change() -> None:
    def settled(one: dict[str, Any], seconds: float, free: float = 0.0) -> bool:
        return report.is_settled({"applications": {"small": one}, "nodes": [node(free)]}, {"small"}, seconds)

    assert settled(app("RUNNING", replica()), 0)
    assert settled(app("DEPLOY_FAILED"), 0)
    assert not settled(app("DEPLOYING", replica("STARTING")), 60)
    waiting = app("DEPLOYING", replica("STARTING", None))
    assert not settled(waiting, 1)  # one that has just been placed looks the same
    assert settled(waiting, 60)
    assert not settled(waiting, 60, free=2.0)
    assert not report.is_settled({"applications": {}, "nodes": []}, {"small"}, 60)


def test_our_own_words_are_found_in_a_trace_within_a_trace() -> None:
    one, two = words.marked("one"), words.marked("two,\non 2 lines")
    assert (
        words.unmarked(f"RayTaskError:\n  File x\nRuntimeError: {one}\n\nDuring\n  {two}\n ^^^") == "two,\non 2 lines"
    )
    assert words.unmarked("Traceback\n  ValueError: no such module\n   ^^^^\n") == "ValueError: no such module"
    assert words.unmarked("") == ""
