"""`threadrunner cluster up|status|down FILE`: the steps of each. What is said goes to `say`, a line at a time."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from threadrunner import exits, paths
from threadrunner.cluster import keys, nodes, report
from threadrunner.cluster.nodes import Places
from threadrunner.cluster.serve_config import serve_config
from threadrunner.cluster.settings import ClusterSettings

Say = Callable[[str], None]

MISSING = "this needs Ray, which is not installed here: pip install 'threadrunner[cluster]'"


class ClusterFailed(Exception):
    """The text says why and what to do; `code` is the exit code."""

    def __init__(self, text: str, code: int = exits.CONNECTION) -> None:
        super().__init__(text)
        self.code = code


def configuration(settings: ClusterSettings) -> dict[str, Any]:
    """The Serve configuration, with the digests of the keys that are here. Raises ClusterFailed."""
    path = keys.key_file(settings, nodes.places(settings).folder)
    try:
        if settings.keys == "auto":
            _prepared(settings)
            keys.made(path, "tr-")
        return serve_config(settings, keys.digests(path) if path else ())
    except (keys.BadKeyFile, OSError) as error:
        raise ClusterFailed(str(error)) from None


def up(settings: ClusterSettings, node: str, labels: Sequence[str], say: Say) -> int:
    """Start this machine's part and, on the first one, deploy the models. Raises ClusterFailed."""
    _need_ray()
    where = _prepared(settings)
    head = not node and nodes.is_head(settings)
    try:
        if head:
            config = configuration(settings)
            _start(settings, where, nodes.HEAD, labels, say)
            return _deployed(settings, where, config, say)
        _start(settings, where, node or "here", labels, say)
    except nodes.NodeTrouble as error:
        raise ClusterFailed(str(error)) from None
    say(f"this machine is a part of {settings.name}; `threadrunner cluster down FILE` takes it out")
    return exits.OK


def status(settings: ClusterSettings) -> dict[str, Any]:
    """What the driver tells of it. Raises ClusterFailed."""
    _need_ray()
    where = nodes.places(settings)
    if not nodes.running(where):
        raise ClusterFailed(
            f"nothing of {settings.name} runs on this machine; `threadrunner cluster up FILE` starts it"
        )
    for line in _driven(settings, where, "status", None):
        if "report" in line:
            found: dict[str, Any] = line["report"]
            return found
    raise ClusterFailed(f"Ray did not answer; see {where.log}, or start anew by `down` and `up`")


def down(settings: ClusterSettings, node: str) -> int:
    """End all of it on this machine, or one node; how many processes there were. Raises ClusterFailed."""
    try:
        return nodes.end(nodes.places(settings), node)
    except nodes.NodeTrouble as error:
        raise ClusterFailed(str(error)) from None


def _need_ray() -> None:
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("fastapi") is None:
        raise ClusterFailed(MISSING, exits.USAGE)


def _prepared(settings: ClusterSettings) -> Places:
    where = nodes.places(settings)
    try:
        paths.make_home()
        os.makedirs(where.folder, mode=0o700, exist_ok=True)
    except paths.PathError as error:
        raise ClusterFailed(str(error)) from None
    return where


def _start(settings: ClusterSettings, where: Places, node: str, labels: Sequence[str], say: Say) -> None:
    if nodes.running(where, node):
        return
    if unknown := set(labels) - {model.needs for model in settings.models}:
        raise ClusterFailed(
            f"no model needs {', '.join(sorted(unknown))}; is it another name in the file?", exits.USAGE
        )
    if node == nodes.HEAD:
        nodes.check_ports(settings)
        keys.made(where.token)
    elif not os.path.exists(where.token):
        raise ClusterFailed(
            f"the cluster's token is not here: copy it from the first machine, {settings.address}, to {where.token}, "
            "and `chmod 600` it"
        )
    try:
        keys.private(where.token)
    except keys.BadKeyFile as error:
        raise ClusterFailed(str(error)) from None
    say(f"starting Ray on {settings.address}" if node == nodes.HEAD else f"joining {settings.address}")
    try:
        nodes.start(settings, where, node, labels)
    except BaseException:
        nodes.end(where, node)  # a half that would keep the next one from starting
        raise


def _deployed(settings: ClusterSettings, where: Places, config: dict[str, Any], say: Say) -> int:
    """Follow the deployment to its end; the exit code."""
    said: dict[str, str] = {}
    found: dict[str, Any] = {"applications": {}}
    done = False
    for line in _driven(settings, where, "deploy", config):
        done = done or "done" in line
        if "report" in line:
            found = line["report"]
            _tell_changes(settings, found, said, say)
    if not done:
        raise ClusterFailed(f"Ray did not finish the deployment; see {where.log}, or start anew by `down` and `up`")
    _tell_changes(settings, found, said, say, settled=True)
    failed = [name for name, app in found["applications"].items() if app["status"] in ("DEPLOY_FAILED", "UNHEALTHY")]
    return exits.MODEL if failed else exits.OK


def _tell_changes(
    settings: ClusterSettings, found: dict[str, Any], said: dict[str, str], say: Say, settled: bool = False
) -> None:
    """Of what waits for a machine only once it is `settled`: what was placed a moment ago looks the same."""
    for name, app in found["applications"].items():
        line = f"{name}: {report.state_of(app)}"
        if app["status"] == "RUNNING":
            line = f"{name}: {report.ready(app)} of {app['wanted']} at {report.url(settings, app['route'])}/v1"
        elif (problem := report.problem(app, found["nodes"])) and (settled or problem != report.NO_PLACE):
            line += f": {problem}"
        if said.get(name) != line:
            said[name] = line
            say(line)


def _driven(
    settings: ClusterSettings, where: Places, action: str, config: dict[str, Any] | None
) -> Iterator[dict[str, Any]]:
    """The driver's lines. Raises ClusterFailed."""
    read, write = os.pipe()
    address = f"{nodes.ray_address(settings)}:{settings.port}"
    argv = [sys.executable, "-P", "-m", "threadrunner.cluster.driver", action, address, str(write)]
    with open(where.log, "ab") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
            env=nodes.environment(os.environ, where, "driver"),
            pass_fds=[write],
        )
    os.close(write)
    assert process.stdin
    try:
        with process.stdin as given:
            given.write(json.dumps(config).encode())
        with os.fdopen(read, "rb") as lines:
            for text in lines:
                line = json.loads(text)
                if "failed" in line:
                    raise ClusterFailed(f"cannot talk to Ray at {address}; see {where.log}, or end it with `down`")
                yield line
    finally:
        process.terminate()
        process.wait()
