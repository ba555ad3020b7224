"""A cluster on the loopback, driven by its command line alone, and a plain client for it."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.http.served import JSON, Reply
from tests.support import PATIENCE

SWITCH = "THREADRUNNER_TEST_CLUSTER"


def why_not() -> str:
    """Why no Ray is started here; empty: it may be."""
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed; .ci/cluster installs it and runs this"
    return "" if os.environ.get(SWITCH) else f"starts Ray, over a minute; .ci/cluster runs it ({SWITCH}=1)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Rig:
    """`models` are the tables below [models]; `top` the lines before them."""

    def __init__(self, models: str, top: str = "", **env: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="trc-home-"))
        self.port = free_port()
        self.file = self.home / "rig.toml"
        self.top = f'port = {free_port()}\nlisten = "127.0.0.1:{self.port}"\n{top}\n'
        self.write(models)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("THREADRUNNER_", "RAY_"))}
        self.env = {**kept, "THREADRUNNER_HOME": str(self.home), "THREADRUNNER_OFFLINE": "1", **env}

    def write(self, models: str) -> None:
        self.file.write_text(self.top + models)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        action, *flags = arguments
        argv = [sys.executable, "-m", "threadrunner", "cluster", action, str(self.file), *flags]
        return subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.begin(*arguments)
        out, err = process.communicate(timeout=3 * PATIENCE)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def replicas(self, model: str) -> dict[str, dict[str, Any]]:
        """Those that run, by their id."""
        replicas = self.status()["applications"][model]["replicas"]
        return {replica["id"]: replica for replica in replicas if replica["state"] == "RUNNING"}

    def marked(self, node: str = "") -> list[int]:
        """All processes of this cluster, or of one of its nodes, found without any code of the product's."""
        wanted = f"THREADRUNNER_CLUSTER={self.home}/cluster/rig".encode()
        of_node = f"THREADRUNNER_CLUSTER_NODE={node}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    variables = (entry / "environ").read_bytes().split(b"\0")
                    if wanted in variables and (not node or of_node in variables):
                        found.append(int(entry.name))
        return found

    def ask(self, path: str, body: Any = None, method: str = "", timeout: float = PATIENCE, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(
                method or ("GET" if data is None else "POST"), path, data, JSON | named if data else named
            )
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def say(self, model: str, prompt: str, session: str = "", timeout: float = PATIENCE) -> Reply:
        headers = {"x_session_id": session} if session else {}
        return self.ask(f"/{model}/v1/chat/completions", chat(prompt), timeout=timeout, **headers)

    @contextlib.contextmanager
    def stream(self, model: str, prompt: str, session: str = "") -> Iterator[tuple[str, http.client.HTTPResponse]]:
        """The replica's id, and the response, once its head is there; hung up on behind this."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {**JSON, **({"x-session-id": session} if session else {})}
        path = f"/{model}/v1/chat/completions"
        connection.request("POST", path, json.dumps({**chat(prompt), "stream": True}), headers)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        try:
            yield response.headers["x-threadrunner-replica"], response
        finally:
            response.close()
            connection.close()

    def close(self) -> None:
        self.run("down")
        shutil.rmtree(self.home, ignore_errors=True)


def chat(prompt: str) -> dict[str, Any]:
    return {"model": "default", "messages": [{"role": "user", "content": prompt}]}


def replica_of(reply: Reply) -> str:
    return reply.headers.get("x-threadrunner-replica", "")


def eventually(look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `look` gives once it is true: Ray tells nothing of when it has mended something."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, "that did not happen"
        time.sleep(0.2)
    return found
