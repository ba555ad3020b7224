"""The cluster's file: what it may say, and that a mistake is told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from threadrunner.cluster import settings
from threadrunner.cluster.settings import BadClusterFile

SMALL = {"model": "smollm2:135m"}


def checked(**top: Any) -> settings.ClusterSettings:
    return settings.checked({"models": {"small": SMALL}, **top}, "team")


def of_model(**table: Any) -> settings.ClusterModel:
    (model,) = checked(models={"small": {**SMALL, **table}}).models
    return model


def test_a_file_of_one_line_for_each_model_is_enough(tmp_path: Path) -> None:
    (tmp_path / "Team.toml").write_text('[models.small]\nmodel = "smollm2:135m"\n')
    read = settings.read(str(tmp_path / "Team.toml"))
    assert (read.name, read.address, read.listen, read.listen_port) == ("team", "127.0.0.1", "127.0.0.1", 8770)
    assert read.models == (settings.ClusterModel("small", "smollm2:135m", "/small"),)
    assert read.scheme == "http"


def test_all_that_it_may_say() -> None:
    read = checked(
        name="box", address="10.0.0.1", port=7000, listen="[::]:443", proxies="every", keys="file:/etc/keys", cpus=8,
        hosts=["box.example"], tls={"certificate": "/etc/box.pem", "key": "/etc/box.key"}, object_store=100 << 20,
        models={
            "coder": {
                "model": "/models/coder.gguf", "route": "/v2/coder", "replicas": [0, 4], "requests": 8, "cpus": 4,
                "gpus": 0.5, "memory": 1 << 33, "needs": "big", "options": {"context": 8192, "backend": "llama"},
            }
        },
    )  # fmt: skip
    assert (read.listen, read.listen_port, read.scheme) == ("::", 443, "https")
    (coder,) = read.models
    assert coder == settings.ClusterModel(
        "coder", "/models/coder.gguf", "/v2/coder", 0, 4, 8.0, 4.0, 0.5, 1 << 33, "big",
        {"context": 8192, "backend": "llama"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ({"models": {}}, "it names no model; add a table such as [models.small]"),
        ({"model": "x"}, "'model' is no option; there are name, address"),
        ({"name": "My team"}, "small letters"),
        ({"port": 0}, "port must be a number from 1 to 65535"),
        ({"port": True}, "port must be a number"),
        ({"listen": "8770"}, 'listen must be an address and a port, as "127.0.0.1:8770"'),
        ({"listen": "127.0.0.1:99999"}, "listen must be"),
        ({"listen": "0.0.0.0:8770"}, 'it needs keys: add keys = "auto"'),
        ({"keys": "tr-secret"}, "is never a key"),
        ({"keys": "file:keys"}, '"file:/full/path"'),
        ({"proxies": "all"}, "proxies must be head or every"),
        ({"hosts": "box"}, "hosts must be a list"),
        ({"hosts": [1]}, "hosts must be a list"),
        ({"tls": {"certificate": "/a.pem"}}, "needs both"),
        ({"tls": {"certificate": "a.pem", "key": "/b"}}, "must be a full path"),
        ({"tls": "x"}, "tls must be a table"),
        ({"object_store": 1}, "object_store must be a number from"),
        ({"models": {"Small": SMALL}}, "[models.Small]: a name is small letters"),
        ({"models": {"small": "smollm2:135m"}}, "models.small must be a table"),
        ({"models": {"a": {**SMALL, "route": "/x"}, "b": {**SMALL, "route": "/x"}}}, "two models have the route /x"),
    ],
)
def test_a_mistake_is_told_with_what_may_stand_there(top: dict[str, Any], said: str) -> None:
    with pytest.raises(BadClusterFile) as caught:
        checked(**top)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"model": ""}, '[models.small]: model must be a name such as "smollm2:135m"'),
        ({"model": "remote:box"}, "model must be a name"),
        ({"model": "./small.gguf"}, "or a full path that is the same on each machine"),
        ({"model": "models/small.gguf"}, "or a full path"),
        ({"model": 3}, "model must be a text"),
        ({"model": "a\nb"}, "a text on one line"),
        ({"route": "small"}, 'route must be a path such as "/small"'),
        ({"route": "/a/../b"}, "route must be a path"),
        ({"replicas": 0}, "replicas must be a number, or the least and the most as [1, 4]"),
        ({"replicas": [2, 1]}, "replicas must be"),
        ({"replicas": [0, 0]}, "replicas must be"),
        ({"replicas": 1001}, "at most 1000"),
        ({"replicas": 1.5}, "replicas must be"),
        ({"replicas": True}, "replicas must be"),
        ({"cpus": -1}, "cpus must be a number from 0 to"),
        ({"needs": "GPU"}, "needs must be a label of small letters"),
        ({"gpu": 1}, "'gpu' is no option; there are model, route"),
        ({"options": {"context": "many"}}, "[models.small.options]"),
        ({"options": {"idle_exit": 5}}, "options has no 'idle_exit'; docs/configuration.md lists"),
        ({"options": {"modell": "x"}}, "options has no 'modell'"),
    ],
)
def test_so_is_one_in_a_models_table(table: dict[str, Any], said: str) -> None:
    with pytest.raises(BadClusterFile) as caught:
        of_model(**table)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"), [(None, "No such file or directory; docs/cluster.md shows"), ("models = [", "not TOML")]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "team.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadClusterFile) as caught:
        settings.read(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
