"""The cluster's file as a Serve configuration: what `serve deploy` and KubeRay's serveConfigV2 take too. Pure.

One application a model, whose replica is its own ingress: through a second deployment a token costs 680 to 1180 us
against 40, and a stream's consumer that goes away is not heard of (measured with Ray 2.60 on two cores).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from threadrunner.cluster.settings import ClusterModel, ClusterSettings

IMPORT_PATH = "threadrunner.cluster.replica:application"
DEPLOYMENT = "model"

ROUTER = "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"
"""By the header `x-session-id`; a request without one goes anywhere."""

ONGOING = 64
"""Requests at one replica. More than any engine batches, so that they wait in ours, which knows priorities: Serve's own
queue is first come, first served. As many as the HTTP app takes (traffic.BUSY): one more is told so by a 429."""

QUEUED = 512
"""Requests that wait for a place at a replica, at each proxy. Serve counts those too that are only being routed, so a
small number refuses bursts that would have found a place."""

HEALTH = {"health_check_period_s": 5.0, "health_check_timeout_s": 15.0}
STOP = {"graceful_shutdown_wait_loop_s": 0.5, "graceful_shutdown_timeout_s": 10.0}
"""A hung request delays a replica's replacement by this long at most."""


def serve_config(settings: ClusterSettings, digests: Sequence[str] = ()) -> dict[str, Any]:
    """`digests`: of the keys that clients are asked for; keys themselves would stand in Serve's state."""
    http: dict[str, Any] = {"host": settings.listen, "port": settings.listen_port}
    if settings.certificate:
        http |= {"ssl_certfile": settings.certificate, "ssl_keyfile": settings.certificate_key}
    return {
        "proxy_location": "HeadOnly" if settings.proxies == "head" else "EveryNode",
        "http_options": http,
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},  # not even when a prompt was asked
        "applications": [_application(settings, model, digests) for model in settings.models],
    }


def _application(settings: ClusterSettings, model: ClusterModel, digests: Sequence[str]) -> dict[str, Any]:
    return {
        "name": model.name,
        "route_prefix": model.route,
        "import_path": IMPORT_PATH,
        "args": {
            "name": model.name,
            "model": model.model,
            "route": model.route,
            "options": _options(model),
            "port": settings.listen_port,
            "hosts": sorted({settings.listen, settings.address, *settings.hosts}),
            "keys": list(digests),
        },
        "deployments": [_deployment(model)],
    }


def _options(model: ClusterModel) -> dict[str, Any]:
    """A replica computes with the cores that were set aside for it; its cache on disk would end with it."""
    threads = {"threads": int(model.cpus)} if model.cpus >= 1 else {}
    return {"cache_bytes": 0, **threads, **model.options}


def _deployment(model: ClusterModel) -> dict[str, Any]:
    actor: dict[str, Any] = {"num_cpus": model.cpus, "num_gpus": model.gpus}
    if model.memory:
        actor["memory"] = model.memory
    if model.needs:
        actor["resources"] = {model.needs: 0.001}  # a label: any number of replicas may stand on it
    return {
        "name": DEPLOYMENT,
        **_scale(model),
        "max_ongoing_requests": ONGOING,
        "max_queued_requests": QUEUED,
        "ray_actor_options": actor,
        "request_router_config": {"request_router_class": ROUTER},
        **HEALTH,
        **STOP,
    }


def _scale(model: ClusterModel) -> dict[str, Any]:
    if model.least == model.most:
        return {"num_replicas": model.most}
    return {
        "autoscaling_config": {
            "min_replicas": model.least,
            "max_replicas": model.most,
            "target_ongoing_requests": model.requests,
            "upscale_delay_s": 5.0,
            "downscale_delay_s": 300.0,  # a model that is loaded again costs more than one that waits
        }
    }
