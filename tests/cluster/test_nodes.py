"""Ray's processes on this machine: how they are started, found and ended. No Ray is needed: processes are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import PATIENCE
from threadrunner.cluster import nodes, settings
from threadrunner.cluster.nodes import NodeTrouble, Places
from threadrunner.cluster.settings import ClusterSettings

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
MEEK = "import signal; print('up', flush=True); signal.pause()"


def team(address: str = "10.0.0.1", cpus: float = -1.0) -> ClusterSettings:
    return settings.checked({"address": address, "cpus": cpus, "models": {"small": {"model": "x"}}}, "team")


@pytest.fixture
def where(tmp_path: Path) -> Places:
    places = Places(str(tmp_path / "cluster"), str(tmp_path / "run"))
    os.makedirs(places.folder)
    os.makedirs(places.run)
    return places


@pytest.fixture
def begun(where: Places) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes as a node's are, of `head` and of `second`, one that ends when it is told and one that does not, and
    one of another cluster."""
    other = Places(f"{where.folder}-2", where.run)
    wanted = [(where, nodes.HEAD, MEEK), (where, "second", DEAF), (other, nodes.HEAD, MEEK)]
    started = [_python(code, nodes.environment(os.environ, place, node)) for place, node, code in wanted]
    for process in started:
        assert process.stdout and process.stdout.readline() == "up\n"
    yield started
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def _python(code: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)


def test_they_are_found_by_their_environment(where: Places, begun: list[subprocess.Popen[str]]) -> None:
    head, second, _ = (process.pid for process in begun)
    assert set(nodes.running(where)) == {head, second}
    assert nodes.running(where, "second") == [second]


def test_end_ends_them_all_and_no_other(
    where: Places, begun: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "TERM_WITHIN", 0.2)  # until what does not listen is killed
    head, second, other = begun
    assert nodes.end(where, nodes.HEAD) == 1
    assert head.wait(PATIENCE) == -signal.SIGTERM
    assert second.poll() is None and os.path.exists(where.run)
    assert nodes.end(where) == 1
    assert second.wait(PATIENCE) == -signal.SIGKILL
    assert other.poll() is None
    assert not os.path.exists(where.run)
    assert os.path.exists(where.folder)
    assert nodes.end(where) == 0


def test_what_all_of_its_processes_are_told(where: Places) -> None:
    theirs = {
        "PATH": "/bin",
        "RAY_ADDRESS": "ray://else:1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "1",
    }
    told = nodes.environment(theirs, where, nodes.HEAD)
    assert told["PATH"] == "/bin"
    assert "RAY_ADDRESS" not in told
    assert (told["RAY_AUTH_MODE"], told["RAY_AUTH_TOKEN_PATH"]) == ("token", where.token)
    assert (told["RAY_USAGE_STATS_ENABLED"], told["DO_NOT_TRACK"], told["VLLM_NO_USAGE_STATS"]) == ("0", "1", "1")


def test_the_first_machine_and_the_others(where: Places) -> None:
    head = nodes.start_arguments(team(cpus=4), where, nodes.HEAD, "10.0.0.1")
    assert head[0] == "--head"
    assert {"--port=6380", "--num-cpus=4", "--node-ip-address=10.0.0.1", "--include-dashboard=false"} <= {*head}
    other = nodes.start_arguments(team(), where, "here", "10.0.0.2", ["big"])
    assert '--resources={"big": 1}' in other
    assert {"--address=10.0.0.1:6380", "--node-ip-address=10.0.0.2"} <= {*other}
    assert not [one for one in other if one.startswith(("--head", "--num-cpus", "--port"))]


@pytest.mark.parametrize("key", ["port", "listen"])
def test_a_port_that_is_taken(key: str) -> None:
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.2", 0))
        other.listen()
        ports = {"port": one.getsockname()[1], "listen": one.getsockname()[1], key: other.getsockname()[1]}
        one.close()
        tables = {**ports, "listen": f"127.0.0.2:{ports['listen']}", "models": {"small": {"model": "x"}}}
        with pytest.raises(NodeTrouble, match=f"Address already in use; set another `{key}`"):
            nodes.check_ports(settings.checked(tables, "team"))


def test_where_the_first_machine_is() -> None:
    assert nodes.is_head(team("127.0.0.1"))
    assert not nodes.is_head(team("192.0.2.1"))  # a network for documents, and no machine's
    assert nodes.ray_address(team("127.0.0.1")) == nodes.address_towards(team("127.0.0.1")) == "127.0.0.2"
    assert nodes.ray_address(team()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("said", "node", "told"),
    [
        ("InvalidAuthToken", "here", "refuses our token: copy "),
        ("RuntimeError: timed out", "here", "cannot join 10.0.0.1:6380; does the first machine run"),
        ("OSError", nodes.HEAD, "Ray could not start; its words are in "),
    ],
)
def test_why_ray_did_not_start(where: Places, said: str, node: str, told: str) -> None:
    assert told in nodes.reason(said, team(), where, node)
