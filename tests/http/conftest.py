from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.served import Served, serving
from tests.http.tinymodel import serving_tiny


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """`serve` before a daemon with the dummy backend."""
    yield from serving()


@pytest.fixture(scope="session")
def tiny() -> Iterator[Served]:
    """`serve` before a daemon with tiny models."""
    yield from serving_tiny()
