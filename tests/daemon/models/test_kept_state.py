"""Saved KV state goes with its model."""

from __future__ import annotations

from tests.backends import tiny
from tests.support import Daemon


def test_saved_kv_state_goes_with_its_model() -> None:
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_THREADS="1")
    models, cache = daemon.home / "models", daemon.home / "cache"
    models.mkdir(parents=True)
    for name in ("kept.gguf", "removed.gguf"):
        tiny.llama(
            models / name, **{"attention.head_count": 1, "attention.head_count_kv": 1, "rope.dimension_count": 32}
        )
    daemon.start()
    try:
        wire = daemon.wire()
        for name in ("kept", "removed"):
            wire.call("generate", model=name, prompt="my pin is 4711 " * 10, raw=True, max_tokens=1, stream=False)
        wire.call("models.unload", model="kept")
        wire.call("models.remove", model="removed")
        assert [file.parent.name for file in cache.rglob("*.kv")] == ["kept"]
    finally:
        daemon.close()
