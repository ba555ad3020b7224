"""Asks the daemon for infills, and ends a request early where a filter would cut all that could follow."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from threadrunner.lsp.suggest.ask import DaemonClient, Figures, suggestion_id
from threadrunner.lsp.suggest.infill import InfillRequest

Receive = Callable[[str], None]
Heard = Callable[[str, dict[str, Any]], None]
"""Told of a suggestion's id and the answer that it is from."""


class InfillClient:
    """The daemon's `infill`; counts what it costs in `figures`."""

    def __init__(self, daemon: DaemonClient, figures: Figures, heard: Heard | None = None) -> None:
        self._daemon = daemon
        self._figures = figures
        self._heard = heard

    async def texts(self, request: InfillRequest, receive: Receive | None = None) -> list[str]:
        """The texts to show, the best first. `receive` is called with each piece of a streamed text, unfiltered, as it
        arrives. Raises ApiError; when cancelled, the daemon is told."""
        answer = await self._answer(request, receive)
        self._figures.answered += 1
        usage = answer.get("usage") or {}
        prompt, cached = usage.get("prompt_tokens", 0), usage.get("cached_tokens", 0)
        self._figures.prompt_tokens += prompt
        self._figures.evaluated_tokens += prompt - cached
        texts = request.texts(answer)
        if self._heard is not None and request.confidence and len(texts) == 1:
            self._heard(suggestion_id(request.window.prefix, texts[0]), answer)
        return texts

    async def _answer(self, request: InfillRequest, receive: Receive | None) -> dict[str, Any]:
        """The daemon's result, or the text so far once a filter would cut all that could follow."""
        text, scores = "", []
        enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def listen(name: str, payload: dict[str, Any]) -> None:
            nonlocal text, scores
            if name != "token" or not request.streamed:
                return
            if payload.get("kind") == "confidence":
                scores = [{"text": token, "logprob": logprob} for token, logprob in json.loads(payload["text"])]
                return
            piece: str = payload["text"]
            text += piece
            if receive is not None:
                receive(piece)
            if "\n" in piece and not enough.done() and request.ends_with(text):
                enough.set_result(None)

        answer = asyncio.ensure_future(self._daemon.request("infill", request.params(), listen))
        try:
            await asyncio.wait({answer, enough}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        if answer.done():
            result: dict[str, Any] = answer.result()
            return result
        self._figures.ended_early += 1
        answer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answer
        return {"text": text, "finish_reason": "stop", "logprobs": scores}
