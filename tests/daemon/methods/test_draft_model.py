"""`draft_model` from config.toml to the worker: found, checked, loaded with its model, and watched as its model is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny
from tests.support import Daemon, Wire

ASK = {"prompt": "abc", "model": "large", "raw": True, "max_tokens": 1}


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Large.gguf, and small.gguf that drafts for it."""
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_THREADS="1")
    models = daemon.home / "models"
    models.mkdir(parents=True)
    for name in ("large", "small"):
        tiny.llama(models / f"{name}.gguf")
    try:
        yield daemon
    finally:
        daemon.close()


def configure(daemon: Daemon, draft: str) -> None:
    (daemon.home / "config.toml").write_text(f'[models.large]\ndraft_model = "{draft}"\n')


def facts(wire: Wire) -> dict[str, Any]:
    (model,) = wire.call("status")["models"]
    found: dict[str, Any] = model["facts"]
    return found


def test_it_is_loaded_with_its_model_and_a_newer_file_of_it_takes_over(daemon: Daemon) -> None:
    configure(daemon, "small")
    daemon.start()
    wire, events = daemon.wire(), daemon.wire()
    events.call("subscribe", events=["model.reloading", "model.reloaded", "model.unloaded"])
    wire.call("generate", **ASK)
    small = daemon.home / "models" / "small.gguf"
    assert facts(wire)["draft_model_bytes"] > 0
    assert wire.call("models.show", model="large")["settings"]["draft_model"] == "small"
    (old,) = daemon.workers()
    tiny.llama(daemon.home / "new.gguf").replace(small)
    assert events.event("model.reloading")["data"]["how"] == "replaced"
    events.event("model.reloaded")
    events.event("model.unloaded")
    wire.call("generate", **ASK)
    assert old not in daemon.workers()
    small.write_bytes(small.read_bytes())
    assert events.event("model.reloading")["data"]["how"] == "rewritten"
    wire.call("generate", **ASK)


def test_one_that_cannot_be_used_is_an_error_of_its_model(daemon: Daemon, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes((daemon.home / "models" / "small.gguf").read_bytes()[:900])
    tiny.bert(tmp_path / "embeds.gguf", tiny.MEAN)
    configure(daemon, "nowhere")
    daemon.start()
    wire = daemon.wire()
    assert wire.fail("generate", **ASK)["message"].startswith("the draft_model of large: ")
    for file, says in (
        (damaged, "damaged.gguf is not complete"),
        (tmp_path / "embeds.gguf", "the draft_model cannot draft"),
    ):
        wire.call("models.unload")  # returns when a process that has failed is gone; config.toml is looked at then
        configure(daemon, str(file))
        error = wire.fail("generate", **ASK)
        assert error["data"]["kind"] == "ModelLoadFailed"
        assert says in error["message"]
    wire.call("models.unload")
    (daemon.home / "config.toml").write_text('[models.large]\ndraft_model = "nowhere"\ndrafts = "off"\n')
    wire.call("generate", **ASK)
