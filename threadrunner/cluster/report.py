"""What the driver tells, as lines for a user. Pure."""

from __future__ import annotations

from typing import Any

from threadrunner.cluster import words
from threadrunner.cluster.settings import ClusterSettings

_STATES = {
    "RUNNING": "running",
    "DEPLOYING": "starting",
    "NOT_STARTED": "starting",
    "DEPLOY_FAILED": "failed",
    "UNHEALTHY": "failing",
    "DELETING": "ending",
}
NO_PLACE = (
    "no machine of the cluster has room for it (cpus, gpus, memory, needs): it starts by itself once one joins that has"
)
PLACED_WITHIN = 4.0


def url(settings: ClusterSettings, route: str) -> str:
    host = settings.address if settings.listen in ("0.0.0.0", "::") else settings.listen
    shown = f"[{host}]" if ":" in host else host
    return f"{settings.scheme}://{shown}:{settings.listen_port}{route.rstrip('/')}"


def state_of(app: dict[str, Any]) -> str:
    return _STATES.get(app["status"], str(app["status"]).lower())


def ready(app: dict[str, Any]) -> int:
    """Replicas that answer."""
    return sum(replica["state"] == "RUNNING" for replica in app["replicas"])


def problem(app: dict[str, Any], nodes: list[dict[str, Any]]) -> str:
    """Why it does not run, in words; empty: it does, or is still starting."""
    if waits(app, nodes):
        return NO_PLACE
    return words.unmarked(app["message"]) if app["status"] in ("DEPLOY_FAILED", "UNHEALTHY") else ""


def waits(app: dict[str, Any], nodes: list[dict[str, Any]]) -> bool:
    """Whether a replica of it has no machine, and none has room for it."""
    homeless = any(replica["state"] == "STARTING" and not replica["node"] for replica in app["replicas"])
    return homeless and not any(has_room(node["free"], app["asks"]) for node in nodes if node["alive"])


def has_room(free: dict[str, float], asks: dict[str, Any]) -> bool:
    wanted = {"CPU": asks.get("num_cpus"), "GPU": asks.get("num_gpus"), "memory": asks.get("memory")}
    wanted |= asks.get("resources") or {}
    return all(free.get(name, 0.0) >= amount for name, amount in wanted.items() if amount)


def is_settled(report: dict[str, Any], names: set[str], seconds: float) -> bool:
    """Whether nothing more will change by itself; `seconds`: since something did. A replica that has just been placed
    looks like one without a place, until Serve has heard of it."""
    apps = {name: app for name, app in report["applications"].items() if name in names}
    moving = [app for app in apps.values() if app["status"] not in ("RUNNING", "DEPLOY_FAILED", "UNHEALTHY")]
    return len(apps) == len(names) and all(seconds > PLACED_WITHIN and waits(app, report["nodes"]) for app in moving)


def rows(settings: ClusterSettings, report: dict[str, Any]) -> list[tuple[str, ...]]:
    """A table of the models."""
    table: list[tuple[str, ...]] = [("MODEL", "STATE", "REPLICAS", "WHERE", "ADDRESS")]
    for name, app in sorted(report["applications"].items()):
        where = sorted({replica["address"] for replica in app["replicas"] if replica["address"]})
        shown = f"{url(settings, app['route'])}/v1" if app["route"] else "-"
        counts = f"{ready(app)} of {app['wanted']}"
        table.append((name, state_of(app), counts, ", ".join(where) or "-", shown))
    return table


def machines(report: dict[str, Any]) -> str:
    alive = [node for node in report["nodes"] if node["alive"]]
    cores = sum(node["has"].get("CPU", 0) for node in alive)
    gpus = sum(node["has"].get("GPU", 0) for node in alive)
    shown = f"{len(alive)} {'node' if len(alive) == 1 else 'nodes'}: {', '.join(node['address'] for node in alive)}"
    return f"{shown}; {cores:g} cores" + (f", {gpus:g} GPUs" if gpus else "")
