"""llama-server's POST /infill, which llama.vim and llama.vscode ask at each pause of the keys."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.api.generation import Generated
from threadrunner.http import sampling
from threadrunner.http.dialects.llama import objects
from threadrunner.http.dialects.llama.objects import LlamaWriter
from threadrunner.http.exchange import Order, whole
from threadrunner.http.failures import invalid
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.loaded import context_of
from threadrunner.http.reading import Fields
from threadrunner.http.streams import Stream

FILES = 64
"""That the daemon takes as context; of more, the newest, which both programs have at the end."""

CANDIDATES_TEMPERATURE = 0.4
"""Of several answers where the request names none: at 0 they would be the same; one alone is the likeliest."""


class Warming:
    """A request that only has context evaluated ahead: one at a time, in the background, given up when a real one
    comes. What was evaluated until then stays in the cache."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._task: asyncio.Task[Generated] | None = None

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def run(self, order: Order) -> Generated | None:
        """None where another request has taken its place. Raises ApiError."""
        self.stop()
        task = self._task = asyncio.create_task(whole(self._gateway.exchanges, order))
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()  # this request's client has hung up
        with contextlib.suppress(asyncio.CancelledError):
            return task.result()
        return None


def routes(gateway: Gateway) -> list[Route]:
    warming = Warming(gateway)

    async def infill(request: Request) -> Response:
        body = await fields(request)
        order = await read(gateway, body)
        wanted = objects.read_fields(body)
        if order.params.get("max_tokens") == 0:
            answer = await warming.run(order)
            n_ctx = 0
            return JSONResponse({} if answer is None else objects.results(order, answer, n_ctx, wanted)[0])
        warming.stop()
        if body.flag("stream"):
            n_ctx = await context_of(gateway, order.params.get("model"))
            return Stream(gateway.exchanges, order, LlamaWriter(order, wanted, n_ctx, False))
        answer = await whole(gateway.exchanges, order)
        # A look at the model is spared where nothing of it was asked for.
        n_ctx = 0 if wanted else await context_of(gateway, order.params.get("model"))
        made = objects.results(order, answer, n_ctx, wanted)
        return JSONResponse(made[0] if len(made) == 1 else made)

    return [Route("/infill", infill, methods=["POST"])]


async def read(gateway: Gateway, body: Fields) -> Order:
    """Raises HttpFailure."""
    model = body.text("model") or ""
    params: dict[str, Any] = {
        **await gateway.target(model),
        "priority": "interactive",
        # `top_k` and `top_p` are left out: both programs send them for a chain of samplers of llama-server's.
        **{name: value for name, value in sampling.read_sampling(body).items() if name not in ("top_k", "top_p")},
        **sampling.read_format(body),
        # What stands before the cursor in its line is a part of the prefix to us: llama-server puts it behind the
        # middle's token, where a word cut in two stays cut.
        "prefix": body.need_text("input_prefix") + (body.text("prompt") or ""),
        "suffix": body.need_text("input_suffix"),
        "context": _context(body),
    }
    if (limit := body.whole("t_max_predict_ms")) is not None and limit > 0:
        params["max_time_ms"] = limit
    if (n := body.whole("n_cmpl", "n")) is not None:
        if not 1 <= n <= 8:
            raise invalid("`n_cmpl` must be 1 to 8", "n_cmpl")
        if n > 1:
            params["n"] = n
            params.setdefault("temperature", CANDIDATES_TEMPERATURE)
    if params.get("max_tokens") == 0:
        params |= {"priority": "background", "n": 1}
        params.pop("max_time_ms", None)
    return Order("infill", {**params, **sampling.read_ours(body)}, model)


def _context(body: Fields) -> list[dict[str, str]]:
    """Each with a name: llama.vim has none for a buffer without a file."""
    files = [(item.text("filename"), item.need_text("text")) for item in body.objects("input_extra")]
    return [{"path": name or f"unnamed-{i}", "text": text} for i, (name, text) in enumerate(files)][-FILES:]
