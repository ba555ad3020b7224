"""What all handlers share: the way to the daemon, the names of its models, and the exchanges under way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from threadrunner.api.errors import ApiError
from threadrunner.http import asking, reading
from threadrunner.http.exchange import Daemon, Exchanges, Order
from threadrunner.http.meter import Meter
from threadrunner.http.names import Names, without_path
from threadrunner.http.news import News
from threadrunner.http.reading import Fields
from threadrunner.http.traffic import Traffic


class Gateway:
    """The daemon, as handlers use it."""

    def __init__(
        self, daemon: Daemon, aliases: Mapping[str, str] = {}, news: News | None = None, base: str = ""
    ) -> None:
        """`base`: the path below which a proxy has us, as `/llm`."""
        self.daemon = daemon
        self.base = base
        self.meter = Meter()
        self.traffic = Traffic()
        self.news = news or News()
        self.exchanges = Exchanges(daemon, self.meter.answered)
        self.names = Names(self.request, aliases)
        self.began = time.time()

    async def drain(self) -> None:
        """Let in no request any more, end the streams that would go on for ever, and return when all others have come
        to their ends."""
        self.traffic.draining = True
        self.news.end()
        await self.traffic.idle()

    def end(self, error: ApiError) -> None:
        """Fail all exchanges under way with this, and end the other streams."""
        self.traffic.draining = True
        self.exchanges.end(error)
        self.news.end()

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """The result of a method whose answer is not streamed. Raises ApiError; cancelled, it is cancelled there."""
        result = await self.daemon.request(method, params)
        if method == "embed":
            now = asking.current()
            now.model = without_path(result["model"])
            now.charge(result["usage"]["prompt_tokens"], 0, 0)
        return result

    async def count(self, order: Order) -> int:
        """The tokens of a conversation, its template and tools included. Raises ApiError."""
        told = ("model", "messages", "tools", "template_vars")
        asked = {name: order.params[name] for name in told if name in order.params}
        tokens: int = (await self.request("apply_template", asked))["tokens"]
        return tokens

    async def target(self, name: str | None) -> dict[str, Any]:
        """Params that say which model a name means. Raises HttpFailure 404."""
        model = await self.names.find(name)
        return {} if model is None else {"model": model}


async def fields(request: Request) -> Fields:
    """The body of a request. Raises HttpFailure 400."""
    return reading.read(await request.body())
