"""A stand-in daemon whose answers fit the test's keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lsp.standin import Standin, standing


@pytest.fixture
def standin() -> Iterator[Standin]:
    yield from standing()
