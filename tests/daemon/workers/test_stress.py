"""Six clients, three models, memory for two, random cancels, kills and replaced files: every request is answered, by
the right model, and nothing hangs.

THREADRUNNER_STRESS_SECONDS (default 20) says for how long, at least.
"""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import python_path
from tests.support import PATIENCE, Daemon, Wire, running

SECONDS = float(os.environ.get("THREADRUNNER_STRESS_SECONDS", "20"))
BALLAST = 40 << 20
NAMES = ("one", "two", "three")
ENOUGH = 50
"""Answers without which nothing is shown; a busy machine is given longer for them."""


@pytest.fixture
def small(plugin: Path) -> Iterator[Daemon]:
    # A worker of these takes its interpreter and the ballast, as text: some 65 MB; three do not fit.
    yield from running(
        THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin), THREADRUNNER_MEMORY_TOTAL=str(170 << 20)
    )


def write(path: Path, version: int) -> None:
    """The file of one model, replaced by rename: its name and version, then what makes it heavy."""
    other = path.with_suffix(f".{threading.get_ident()}.new")
    with other.open("w") as file:
        file.write(f"{path.stem} {version}\n")
        file.write("." * BALLAST)
    other.replace(path)


class Crowd:
    """What clients ask of a daemon, and what is done to it meanwhile, each on a thread of its own until `over`."""

    def __init__(self, daemon: Daemon, models: list[Path]) -> None:
        self.daemon = daemon
        self.models = models
        self.end = time.monotonic() + SECONDS
        self.seen: Counter[str] = Counter()
        self.wrong: list[object] = []
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        late = time.monotonic() - self.end
        return late > 0 and (self.seen["answered"] > ENOUGH or late > 2 * PATIENCE)

    def note(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1

    def client(self, seed: int) -> None:
        rng, wire = random.Random(seed), Wire(self.daemon.socket)
        while not self.over:
            model, what = rng.choice(self.models), rng.random()
            if what < 0.15:  # asked for and cancelled
                id = wire.begin("generate", prompt="drip", model=str(model))
                wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
            elif what < 0.2:  # gone in the middle
                wire.begin("generate", prompt="drip", model=str(model))
                wire.close()
                wire = Wire(self.daemon.socket)
                continue
            elif what < 0.25:
                id = wire.begin("models.unload", model=str(model))
            else:
                id = wire.begin("generate", prompt="head", model=str(model), keep_alive=rng.choice([0, 0.05, 300]))
            self._judge(model, wire.until(id)[0])
        wire.close()

    def _judge(self, model: Path, response: dict[str, Any]) -> None:
        if "error" in response:
            self.note(response["error"]["data"]["kind"])
            if response["error"]["data"]["kind"] not in ("RequestCancelled", "WorkerCrashed"):
                self.wrong.append(response["error"])
        elif "text" in response["result"]:
            self.note("answered")
            if response["result"]["text"].split()[0] != model.stem:
                self.wrong.append((model.stem, response["result"]["text"]))

    def trouble(self) -> None:
        rng, wire, version = random.Random(99), Wire(self.daemon.socket), 0
        while not self.over:
            version += 1
            if rng.random() < 0.5:
                write(rng.choice(self.models), version)
            elif pids := [m["pid"] for m in wire.call("status")["models"] if m["pid"] and m["state"] == "ready"]:
                with contextlib.suppress(ProcessLookupError):  # it may have been unloaded since
                    os.kill(rng.choice(pids), signal.SIGKILL)
            heavy = [m for m in wire.call("status")["models"] if m["rss_bytes"] > BALLAST]
            self.note(f"{len(heavy)} models in memory")
            threading.Event().wait(0.3)  # the rhythm of the trouble
        wire.close()


@pytest.mark.slow
def test_every_request_is_answered_by_the_right_model(small: Daemon, tmp_path: Path) -> None:
    models = [tmp_path / f"{name}.gguf" for name in NAMES]
    for model in models:
        write(model, 0)
    crowd = Crowd(small, models)
    threads = [threading.Thread(target=crowd.client, args=(seed,)) for seed in range(6)]
    threads.append(threading.Thread(target=crowd.trouble))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowd.wrong == []
    assert crowd.seen["answered"] > ENOUGH, crowd.seen
    assert crowd.seen["RequestCancelled"], crowd.seen
    final = small.wire()
    for model in models:
        assert final.call("generate", prompt="head", model=str(model))["text"].split()[0] == model.stem
    status = final.call("status")
    assert status["pid"] == small.pid
    assert all(m["active"] == 0 for m in status["models"]), json.dumps(status, indent=1)
