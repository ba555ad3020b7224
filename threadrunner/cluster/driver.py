"""Talks to Ray, in a process of its own: what Ray prints goes to a file, and what is to be told comes as lines of JSON.

python -P -m threadrunner.cluster.driver deploy|status ADDRESS OUT_FD      the configuration on standard input
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from threadrunner.cluster import report

LOOK = 0.3
"""Seconds between two looks at a deployment: Serve tells nothing by itself."""

Tell = Callable[[dict[str, Any]], None]


def main(action: str, address: str, out_fd: int) -> int:
    def tell(line: dict[str, Any]) -> None:
        os.write(out_fd, json.dumps(line, default=str).encode() + b"\n")

    import ray

    try:
        ray.init(address, namespace="serve", log_to_driver=False, configure_logging=False)
    except Exception as error:  # of many classes, and what they mean is the same
        tell({"failed": str(error)})
        return 1
    if action == "deploy":
        _deploy(json.load(sys.stdin), tell)
    else:
        tell({"report": facts()})
    ray.shutdown()
    return 0


def _deploy(config: dict[str, Any], tell: Tell) -> None:
    """Tell each new state until every application runs, has failed, or waits for a machine that has not joined."""
    from ray.serve._private.api import serve_start
    from ray.serve.schema import ServeDeploySchema

    options = {name: config[name] for name in ("http_options", "proxy_location")}
    client: Any = serve_start(**options, global_logging_config=config["logging_config"])
    client.deploy_apps(ServeDeploySchema.model_validate(config))
    names, last, since = {one["name"] for one in config["applications"]}, None, 0.0
    while True:
        found = facts()
        if found != last:
            tell({"report": found})
            last, since = found, time.monotonic()
        if report.is_settled(found, names, time.monotonic() - since):
            break
        time.sleep(LOOK)
    if any(app["status"] == "RUNNING" for app in found["applications"].values()):
        client.wait_for_proxies_serving(wait_for_applications_running=False)
    tell({"done": True})


def facts() -> dict[str, Any]:
    """What Ray knows of nodes, applications and replicas, as far as it is of use to a user."""
    import ray
    from ray._private.state import available_resources_per_node
    from ray.serve.context import _get_global_client

    free = available_resources_per_node()
    nodes = [
        {
            "address": node["NodeManagerAddress"],
            "alive": node["Alive"],
            "id": node["NodeID"],
            "has": node["Resources"],
            "free": free.get(node["NodeID"], {}) if node["Alive"] else {},
        }
        for node in ray.nodes()
    ]
    client: Any = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return {"nodes": nodes, "applications": {}}
    return {"nodes": nodes, "applications": {n: _app(a) for n, a in client.get_serve_details()["applications"].items()}}


def _app(details: dict[str, Any]) -> dict[str, Any]:
    deployments = details["deployments"].values()
    messages = [details["message"], *(deployment["message"] for deployment in deployments)]
    return {
        "status": str(getattr(details["status"], "value", details["status"])),
        "route": details["route_prefix"],
        "message": "\n".join(filter(None, messages)),
        "asks": next((one["deployment_config"]["ray_actor_options"] for one in deployments), {}),
        "wanted": sum(deployment["target_num_replicas"] for deployment in deployments),
        "replicas": [
            {
                "state": str(getattr(replica["state"], "value", replica["state"])),
                "address": replica.get("node_ip"),
                "node": replica.get("node_id"),
                "pid": replica.get("pid"),
                "id": replica["replica_id"],
            }
            for deployment in deployments
            for replica in deployment["replicas"]
        ],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
