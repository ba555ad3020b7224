"""Real models, loaded once a module (the files come from tests/conftest.py)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.harness import Loaded
from threadrunner.engine.llama.library import L, _start


@pytest.fixture(scope="module")
def smol(smollm2: Path) -> Iterator[Loaded]:
    """SmolLM2, loaded once a module, 2,048 tokens of context."""
    with Loaded(smollm2, context=2048) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def gemma(gemma3: Path) -> Iterator[Loaded]:
    with Loaded(gemma3, context=2048) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def qwen(qwen_coder: Path) -> Iterator[Loaded]:
    with Loaded(qwen_coder, context=4096) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def exact(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """SmolLM2 with its weights in F32, 540 MB for as long as the module runs: nothing is rounded to 8 bits."""
    path = tmp_path_factory.mktemp("exact") / "smollm2-f32.gguf"
    params = L.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = 0, True
    _start()  # or llama.cpp writes a line a tensor to stderr
    assert L.llama_model_quantize(str(smollm2).encode(), str(path).encode(), ctypes.byref(params)) == 0
    with Loaded(path, context=1024, cache_dir=str(path.parent / "kv"), cache_bytes=1 << 30) as loaded:
        yield loaded
    path.unlink()
