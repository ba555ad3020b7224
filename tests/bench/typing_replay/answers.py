"""A model whose answers are kept on disk, so that a replay asks for each of them once; in place of the daemon.

A line of the file is an answer: the key is a checksum of what the model was shown. The engine runs in this process, and
those who type at the same time share its batches.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from threadrunner.api.errors import ApiError
from threadrunner.api.generation import InfillParams
from threadrunner.backends.base import Failed, Finished, ModelSpec
from threadrunner.backends.llama import LlamaBackend

SHOWN = ("prefix", "suffix", "path", "language", "context", "max_tokens")


def key_of(params: dict[str, Any]) -> str:
    shown = {name: params.get(name) for name in SHOWN}
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:24]


class Missing(ApiError):
    """No such answer is kept, and no model is there to ask."""


class Answers:
    """`request` is the daemon's, for `infill` alone."""

    def __init__(self, file: Path, model: str | None = None) -> None:
        self.asked = 0
        self._file = file
        self._kept: dict[str, dict[str, Any]] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                row = json.loads(line)
                self._kept[row["key"]] = row
        self._backend: LlamaBackend | None = None
        if model is not None:
            self._backend = LlamaBackend()
            self._backend.load(ModelSpec(name=Path(model).stem, path=model), lambda done, total: None)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._next = 0

    async def request(self, method: str, params: dict[str, Any], notice: Callable[..., None] | None = None) -> Any:
        key = key_of(params)
        row = self._kept.get(key)
        if row is None:
            row = await self._ask(key, params)
        return {"text": row["text"], "finish_reason": row["finish"], "usage": {}, "logprobs": row["logprobs"]}

    async def _ask(self, key: str, params: dict[str, Any]) -> dict[str, Any]:
        if self._backend is None:
            raise Missing(key)
        self.asked += 1
        asked = {name: params[name] for name in SHOWN if name in params}
        self._next += 1
        id = self._next
        future = self._waiting[id] = asyncio.get_running_loop().create_future()
        self._backend.submit(id, InfillParams(**asked, confidence=True, stream=False))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._step())
            self._pump.add_done_callback(self._stepped)
        result = await future
        row = {"key": key, **result}
        self._kept[key] = row
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def _stepped(self, pump: asyncio.Task[None]) -> None:
        """A failure of the engine is that of all who wait."""
        if not pump.cancelled() and (error := pump.exception()):
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(error)

    async def _step(self) -> None:
        assert self._backend is not None
        while self._waiting:
            for event in self._backend.step():
                if isinstance(event, Finished):
                    found = event.result
                    logprobs = [{"text": each.text, "logprob": each.logprob} for each in found.logprobs]
                    self._waiting.pop(event.id).set_result(
                        {"text": found.text, "finish": found.finish_reason, "logprobs": logprobs}
                    )
                elif isinstance(event, Failed):
                    self._waiting.pop(event.id).set_exception(RuntimeError(str(event)))
            await asyncio.sleep(0)
