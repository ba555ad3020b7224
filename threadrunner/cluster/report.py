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
NO_PLACE = "no machine of the cluster has what it asks for (cpus, gpus, memory, needs): change that, or add a machine"


def url(settings: ClusterSettings, route: str) -> str:
    host = settings.address if settings.listen in ("0.0.0.0", "::") else settings.listen
    shown = f"[{host}]" if ":" in host else host
    return f"{settings.scheme}://{shown}:{settings.listen_port}{route.rstrip('/')}"


def state_of(app: dict[str, Any]) -> str:
    return _STATES.get(app["status"], str(app["status"]).lower())


def ready(app: dict[str, Any]) -> int:
    """Replicas that answer."""
    return sum(replica["state"] == "RUNNING" for replica in app["replicas"])


def problem(app: dict[str, Any]) -> str:
    """Why it does not run, in words; empty: it does, or is still starting."""
    message = app["message"]
    if not message or app["status"] == "RUNNING":
        return ""
    if "Resources required" in message or "to be scheduled" in message:
        return NO_PLACE
    return words.unmarked(message) if app["status"] in ("DEPLOY_FAILED", "UNHEALTHY") else ""


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
