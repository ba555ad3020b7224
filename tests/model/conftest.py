"""Real models, from the folder that THREADRUNNER_TEST_MODELS names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.harness import Loaded


def _model(pattern: str) -> Path:
    folder = os.environ.get("THREADRUNNER_TEST_MODELS")
    if not folder:
        pytest.skip("THREADRUNNER_TEST_MODELS names no folder with models")
    found = sorted(Path(folder).glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in THREADRUNNER_TEST_MODELS")
    return found[0]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return _model("SmolLM2-135M-Instruct*.gguf")


@pytest.fixture(scope="session")
def qwen_coder() -> Path:
    return _model("Qwen2.5-Coder-0.5B*.gguf")


@pytest.fixture(scope="session")
def gemma3() -> Path:
    return _model("gemma-3-270m*.gguf")


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
