"""A real daemon of a test's own, and a plain client for it that shares no code with the product's clients."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE = 60  # seconds until a test that waits for something is called hung


class Wire:
    """One connection, newline framing. Reads whole messages, blocking."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self._file = self.sock.makefile("rb")
        self._ids = iter(range(1, 1 << 30))

    def send(self, *messages: Any) -> None:
        self.sock.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def read(self) -> Any:
        """The next message; None at the end of the stream."""
        line = self._file.readline()
        return json.loads(line) if line else None

    def begin(self, method: str, **params: Any) -> int:
        """Send a request and return its id."""
        id = next(self._ids)
        self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        return id

    def until(self, id: int | str | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The response to `id`, and all that came before it."""
        before = []
        while (message := self.read()) is not None:
            if "id" in message and message["id"] == id and "method" not in message:
                return message, before
            before.append(message)
        raise AssertionError(f"the connection ended before the answer to {id!r}; it said {before}")

    def call(self, method: str, **params: Any) -> Any:
        """The result of a request. Raises AssertionError for an error."""
        response, _ = self.until(self.begin(method, **params))
        assert "result" in response, response
        return response["result"]

    def fail(self, method: str, **params: Any) -> dict[str, Any]:
        """The error of a request that must fail."""
        response, _ = self.until(self.begin(method, **params))
        assert "error" in response, response
        return response["error"]

    def event(self, name: str) -> dict[str, Any]:
        """The next event of that name, after `subscribe`."""
        while (message := self.read()) is not None:
            if message.get("method") == "event" and message["params"]["event"] == name:
                return message["params"]
        raise AssertionError(f"the connection ended before the event {name}")

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Daemon:
    """A daemon process in a home of its own, ended and removed by `close`."""

    def __init__(self, **env: str) -> None:
        # Not pytest's tmp_path: a socket's path may have 107 bytes.
        self.home = Path(tempfile.mkdtemp(prefix="tr-"))
        self.socket = str(self.home / "run" / "daemon.sock")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("THREADRUNNER_")}
        self.env = {
            **inherited,
            "THREADRUNNER_HOME": str(self.home),
            "THREADRUNNER_SOCKET": self.socket,
            "THREADRUNNER_BACKEND": "dummy",
            "THREADRUNNER_LOG": "debug",
            "THREADRUNNER_OFFLINE": "1",
            "THREADRUNNER_LEARN": "false",
            **env,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._wires: list[Wire] = []

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    @property
    def log(self) -> str:
        return "".join(file.read_text() for file in sorted((self.home / "cache").glob("*.log")))

    def start(self) -> Daemon:
        """Start it and wait until it says that it is ready. Raises AssertionError with what it says instead."""
        ready, theirs = os.pipe()
        with os.fdopen(ready, "rb") as pipe:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "threadrunner", "daemon", "--ready-fd", str(theirs)],
                env=self.env,
                pass_fds=[theirs],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            os.close(theirs)
            said = pipe.read()
        assert said == b"ready\n", said.decode()
        return self

    def wire(self) -> Wire:
        wire = Wire(self.socket)
        self._wires.append(wire)
        return wire

    def workers(self) -> list[int]:
        """Pids of the loaded models' workers, as `status` has them."""
        with Wire(self.socket) as wire:
            return [model["pid"] for model in wire.call("status")["models"] if model["pid"]]

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(PATIENCE)

    def hang_up(self) -> None:
        """Close every connection that `wire` has made, which cancels what they asked for."""
        for wire in self._wires:
            wire.close()
        self._wires.clear()

    def close(self) -> None:
        self.hang_up()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        shutil.rmtree(self.home, ignore_errors=True)


def running(**env: str) -> Iterator[Daemon]:
    """For fixtures: a started daemon that is gone afterwards."""
    daemon = Daemon(**env)
    try:
        yield daemon.start()
    finally:
        daemon.close()


def wait_for_exit(pid: int) -> None:
    """Return once that process, a child of ours or not, has ended; by an event, not by looking again and again."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(PATIENCE * 1000), f"process {pid} still runs"
    finally:
        os.close(fd)


def pip_install(source: Path, folder: Path) -> Path:
    """Install the package in `source` into `folder`, without a network; the folder, for PYTHONPATH."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    options = ["--no-build-isolation", "--root-user-action=ignore", "--target", str(folder), str(source)]
    subprocess.run([*command, *options], check=True)
    return folder
