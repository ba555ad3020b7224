"""Real models, loaded once a module (the files come from tests/conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.harness import Loaded


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
