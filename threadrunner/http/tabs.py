"""What a tab of the page listens to: what another of them has changed, and what the daemon says of its models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from threadrunner.http.live import NOTHING, line
from threadrunner.http.news import News
from threadrunner.http.streams import SILENCE


async def listen(news: News) -> AsyncGenerator[bytes, None]:
    """Lines, as long as the tab is there; the first one says whether there is a daemon."""
    yield NOTHING
    async with news.heard() as heard:
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    event = await heard.get()
            except TimeoutError:
                yield NOTHING
                continue
            if event is None:
                return
            yield line(event)
