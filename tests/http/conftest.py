from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.served import Served, serving


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """`serve` before a daemon with the dummy backend."""
    yield from serving()
