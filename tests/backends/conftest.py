"""Real models, loaded once a module (the files come from tests/conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import native
from tests.backends.harness import Loaded


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
    native.write_in_f32(smollm2, path)
    with Loaded(path, context=1024, cache_dir=str(path.parent / "kv"), cache_bytes=1 << 30) as loaded:
        yield loaded
    path.unlink()
