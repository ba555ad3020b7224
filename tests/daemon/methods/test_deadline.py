from __future__ import annotations

import asyncio
import errno

import pytest

from threadrunner.api.errors import Timeout
from threadrunner.daemon.methods.generation import deadline


@pytest.mark.parametrize("seconds", [None, 60])
def test_another_ones_timeout_is_not_taken_for_the_requests(seconds: float | None) -> None:
    async def slow_disk() -> None:
        async with deadline(seconds):
            raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    with pytest.raises(TimeoutError, match="Connection timed out"):
        asyncio.run(slow_disk())


def test_its_own_end_says_what_to_raise() -> None:
    async def waits() -> None:
        async with deadline(0.001):
            await asyncio.Event().wait()

    with pytest.raises(Timeout, match=r"no answer within 0\.001 s; raise --timeout"):
        asyncio.run(waits())
