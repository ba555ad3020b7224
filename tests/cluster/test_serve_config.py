"""The Serve configuration that a file becomes."""

from __future__ import annotations

from typing import Any

from threadrunner.cluster import settings
from threadrunner.cluster.serve_config import ONGOING, serve_config
from threadrunner.http.traffic import BUSY


def made(top: dict[str, Any] | None = None, digests: tuple[str, ...] = (), **table: Any) -> dict[str, Any]:
    tables = {**(top or {}), "models": {"small": {"model": "smollm2:135m", **table}}}
    return serve_config(settings.checked(tables, "team"), digests)


def deployment(**table: Any) -> dict[str, Any]:
    (app,) = made(**table)["applications"]
    (one,) = app["deployments"]
    found: dict[str, Any] = one
    return found


def test_one_application_a_model() -> None:
    config = made()
    assert config["http_options"] == {"host": "127.0.0.1", "port": 8770}
    assert config["proxy_location"] == "HeadOnly"
    assert config["logging_config"]["enable_access_log"] is False
    (app,) = config["applications"]
    assert (app["name"], app["route_prefix"]) == ("small", "/small")
    assert app["args"]["model"] == "smollm2:135m"
    (one,) = app["deployments"]
    assert one["num_replicas"] == 1
    assert "autoscaling_config" not in one
    assert one["request_router_config"]["request_router_class"].endswith("ConsistentHashRouter")
    assert ONGOING == BUSY  # of a replica's own app; what is more would be refused there


def test_keys_are_told_by_their_digests() -> None:
    (app,) = made({"keys": "auto"}, ("12ab",))["applications"]
    assert app["args"]["keys"] == ["12ab"]


def test_certificates_and_a_proxy_on_every_machine() -> None:
    config = made({"tls": {"certificate": "/a.pem", "key": "/a.key"}, "proxies": "every", "hosts": ["box.example"]})
    assert config["http_options"]["ssl_certfile"] == "/a.pem"
    assert config["http_options"]["ssl_keyfile"] == "/a.key"
    assert config["proxy_location"] == "EveryNode"
    assert "box.example" in config["applications"][0]["args"]["hosts"]


def test_how_many_replicas() -> None:
    scale = deployment(replicas=[1, 4], requests=6)["autoscaling_config"]
    assert (scale["min_replicas"], scale["max_replicas"], scale["target_ongoing_requests"]) == (1, 4, 6.0)
    assert deployment(replicas=3)["num_replicas"] == 3


def test_what_a_replica_asks_of_its_machine() -> None:
    asked = deployment(cpus=2, gpus=1, memory=1 << 30, needs="big")["ray_actor_options"]
    assert asked == {"num_cpus": 2.0, "num_gpus": 1.0, "memory": 1 << 30, "resources": {"big": 0.001}}
    assert "resources" not in deployment()["ray_actor_options"]


def test_a_replica_computes_with_the_cores_that_are_its_own() -> None:
    def threads(**table: Any) -> Any:
        return made(**table)["applications"][0]["args"]["options"].get("threads")

    assert threads(cpus=4) == 4
    assert threads(cpus=0.5) is None
    assert threads(cpus=4, options={"threads": 8}) == 8
