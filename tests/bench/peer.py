"""llama-server beside us, for one run: started on a free port, stopped at the end."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import time

REST = 0.4
"""Seconds of rest before a single short request is timed. People's requests come one at a time; without it each of two
programs measured in turn is the other's busy neighbour, to which ThreadRunner gives way with a thread."""


class Peer:
    def __init__(self, binary: str, model: str, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command = [binary, "-m", model, "--port", str(self.port), "--no-webui", *options]

    def __enter__(self) -> Peer:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self._ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self._command[0]} ended with {self.process.returncode}")
            time.sleep(0.05)
        return self

    def _ready(self) -> bool:
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)) as connection:
                connection.request("GET", "/health")
                return connection.getresponse().status == 200
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
