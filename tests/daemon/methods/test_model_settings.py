"""From config.toml to the worker and back to `status`: a real model and real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends import tiny
from tests.support import Daemon

TABLE = '[models."tiny"]\ncontext = 256\ncache_type_k = "q8_0"\ncache_type_v = "q8_0"\nkeep_alive = 77\n'


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_THREADS="1")
    models = daemon.home / "models"
    models.mkdir(parents=True)
    heads = {"attention.head_count": 1, "attention.head_count_kv": 1, "rope.dimension_count": 32}
    tiny.llama(models / "tiny.gguf", **heads)
    try:
        yield daemon
    finally:
        daemon.close()


def test_a_models_table_counts_at_its_next_load(daemon: Daemon) -> None:
    daemon.start()
    wire = daemon.wire()
    wire.call("subscribe", events=["config.loaded"])
    ask = {"prompt": "abc", "model": "tiny.gguf", "raw": True, "max_tokens": 1}
    wire.call("generate", **ask)
    (before,) = wire.call("status")["models"]
    assert before["facts"]["cache_type_k"] == "f16"
    (daemon.home / "config.toml").write_text(TABLE)
    wire.event("config.loaded")
    own = {"context": 256, "cache_type_k": "q8_0", "cache_type_v": "q8_0", "keep_alive": 77.0, "threads": 1}
    assert wire.call("models.show", model="tiny")["settings"] == own
    wire.call("models.unload")
    wire.call("generate", **ask)
    (after,) = wire.call("status")["models"]
    assert (after["context"], after["facts"]["cache_type_k"]) == (256, "q8_0")
    assert 70 < after["expires_s"] <= 77
    per_cell = [model["facts"]["cache_bytes"] / model["facts"]["max_cells"] for model in (before, after)]
    assert per_cell == [128, 68]
    assert wire.call("models.show", model="tiny.gguf")["facts"]["gpu"] == after["facts"]["gpu"]


def test_a_mistake_in_a_table_is_told_and_mending_it_is_enough(daemon: Daemon) -> None:
    file = daemon.home / "config.toml"
    file.write_text('[models.tiny]\ngpu_layrs = 3\n[models.other]\nthreads = "x"\n')
    daemon.start()
    wire = daemon.wire()
    ask = {"prompt": "abc", "model": "tiny", "raw": True, "max_tokens": 1}
    for _ in range(2):
        error = wire.fail("generate", **ask)
        assert error["data"]["kind"] == "InvalidParams"
        assert "[models.\"tiny\"]: a model has no option 'gpu_layrs'; it may have context, threads" in error["message"]
    assert "gpu_layrs" in wire.call("models.show", model="tiny")["problem"]
    file.write_text("[models.tiny]\ngpu_layers = 3\n")
    error = wire.fail("generate", **ask)
    assert error["data"]["kind"] == "ModelLoadFailed"
    assert "gpu_layers is 3, but this build of llama.cpp sees no GPU" in error["message"]
