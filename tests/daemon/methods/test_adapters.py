"""`adapters` from config.toml to the worker: found, checked, loaded with their model, watched as it is, chosen by a
request, a mode or the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny, tiny_lora
from tests.shell import COMMAND
from tests.support import Daemon, Wire

ASK: dict[str, Any] = {
    "prompt": "What the wind said.",
    "model": "base",
    "raw": True,
    "max_tokens": 12,
    "temperature": 0,
}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """base.gguf, with one.gguf beside it and two.gguf elsewhere."""
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_THREADS="1")
    models = daemon.home / "models"
    models.mkdir(parents=True)
    tiny.untied(models / "base.gguf")
    tiny_lora.adapter(models / "one.gguf", 1)
    tiny_lora.adapter(tmp_path / "two.gguf", 2)
    try:
        yield daemon
    finally:
        daemon.close()


def configure(daemon: Daemon, *adapters: str, more: str = "") -> None:
    (daemon.home / "config.toml").write_text(f"[models.base]\nadapters = {json.dumps(adapters)}\n{more}")


def text(wire: Wire, **more: Any) -> str:
    return str(wire.call("generate", **ASK, **more)["text"])


def test_each_request_its_own_and_a_newer_file_takes_over(daemon: Daemon, tmp_path: Path) -> None:
    configure(daemon, "one.gguf=0", str(tmp_path / "two.gguf"), more="[modes.first]\nlora = { one = 1.0 }\n")
    daemon.start()
    wire, events = daemon.wire(), daemon.wire()
    events.call("subscribe", events=["model.reloaded", "model.unloaded"])
    usual, plain, one = text(wire), text(wire, lora={}), text(wire, lora={"one": 1.0})
    assert len({usual, plain, one}) == 3
    assert text(wire, lora={"two": 1.0}) == usual
    assert text(wire, mode="first") == one
    assert text(wire, mode="first", lora={}) == plain, "what a request says is above its mode"
    (model,) = wire.call("status")["models"]
    assert model["facts"]["adapters"] == {"one": 0.0, "two": 1.0}
    assert "loaded with one, two" in wire.fail("generate", **ASK, lora={"three": 1.0})["message"]
    shell = ["-m", "base", "--raw", "-t", "0", "-n", "12", ASK["prompt"]]
    for wanted, expected in (("one", one), ("none", plain)):
        command = [*COMMAND, "--lora", wanted, *shell]
        said = subprocess.run(command, env=daemon.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        assert said.stdout.decode().rstrip("\n") == expected.rstrip("\n")
    tiny_lora.adapter(tmp_path / "new.gguf", 3).replace(daemon.home / "models" / "one.gguf")
    events.event("model.reloaded")
    events.event("model.unloaded")
    assert text(wire, lora={"one": 1.0}) not in (usual, plain, one)


def test_one_that_cannot_be_used_is_an_error_of_its_model(daemon: Daemon, tmp_path: Path) -> None:
    other = tiny_lora.adapter(tmp_path / "other.gguf", general__architecture="qwen2")
    configure(daemon, "nowhere")
    daemon.start()
    wire = daemon.wire()
    assert wire.fail("generate", **ASK)["data"]["kind"] == "ModelNotFound"
    for listed, says in (
        ([str(other)], "other.gguf cannot be used"),
        (["one.gguf", "one.gguf=0.5"], "two files are named one"),
        (["one.gguf=1000"], "must be -100 to 100"),
    ):
        wire.call("models.unload")  # config.toml is looked at then
        configure(daemon, *listed)
        error = wire.fail("generate", **ASK)
        assert error["data"]["kind"] == "ModelLoadFailed"
        assert says in error["message"]
    wire.call("models.unload")
    configure(daemon, "one")
    assert text(wire)
