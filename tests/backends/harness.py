"""A loaded backend, stepped by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.backends import native
from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.backends.base import Event, Failed, Finished, ModelSpec, Params, Piece, Result
from threadrunner.backends.llama import LlamaBackend
from threadrunner.engine.engine import Engine
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts.chat import ChatPrompt
from threadrunner.engine.prompts.fim import InfillPrompts


class Loaded:
    """A backend with its model; what a test asks of their parts goes through here."""

    def __init__(self, path: Path, **spec: Any) -> None:
        self.backend = LlamaBackend()
        # one thread: on a busy machine two that wait for each other at every barrier take ten times as long
        spec.setdefault("threads", 1)
        self.progress: list[tuple[int, int]] = []
        self.facts = self.backend.load(
            ModelSpec(name="test", path=str(path), **spec), lambda done, total: self.progress.append((done, total))
        )
        self._ids = 0

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        self.backend.close()

    @property
    def engine(self) -> Engine:
        return self.backend.loaded.engine

    @property
    def vocab(self) -> Vocab:
        return self.backend.loaded.vocab

    @property
    def chat_prompt(self) -> ChatPrompt:
        return self.backend.loaded.requests.chat_prompt

    @property
    def infill_prompts(self) -> InfillPrompts:
        return self.backend.loaded.requests.infill_prompts

    def submit(self, params: Params) -> int:
        self._ids += 1
        self.backend.submit(self._ids, params)
        return self._ids

    def finish(self, *ids: int) -> tuple[dict[int, Result | Failed], list[Event]]:
        """Step until all of `ids` have ended."""
        ends: dict[int, Result | Failed] = {}
        events: list[Event] = []
        while len(ends) < len(ids):
            for event in self.backend.step():
                events.append(event)
                if isinstance(event, (Finished, Failed)) and event.id in ids:
                    ends[event.id] = event.result if isinstance(event, Finished) else event
        return ends, events

    def ask(self, params: Params) -> Any:
        """The result; what was streamed must add up to its text."""
        id = self.submit(params)
        ends, events = self.finish(id)
        result = ends[id]
        if isinstance(result, Generated) and getattr(params, "stream", False):
            streamed = "".join(e.text for e in events if isinstance(e, Piece) and e.index == 0)
            assert streamed == result.text
        return result

    def forget(self) -> None:
        """Empty the cache, so that the next prompt is evaluated from its first token."""
        self.engine.cells.forget()
        assert self.engine.cells.used() == 0

    def cells_in_llama(self) -> int:
        return native.cells_in_use(self.engine.context)


def greedy(prompt: str = "", **more: Any) -> GenerateParams:
    return GenerateParams(**{"prompt": prompt, "raw": True, "temperature": 0, "max_tokens": 16, **more})


QUANTIZED = 0.3
EXACT = 0.02


def assert_same_or_close(a: Generated, b: Generated, tolerance: float = QUANTIZED) -> None:
    """Equal token by token, or parted where the two best were within the tolerance (logprobs).

    Quantized weights make llama.cpp round activations to 8 bits before each product, and rounding turns the last bit
    of a float, which hangs on the order of additions and so on a batch's size and on the cells, into a step. Measured
    on 200 tokens of SmolLM2, evaluated at once, in parts, one by one and beside others: the best two moved by up to
    0.13 with Q4_1 weights, with or without flash attention, and by 0.002 with the same weights in F32. Errors smaller
    than QUANTIZED are seen by the tests on F32 weights, in test_exact.py.
    """
    assert isinstance(a.logprobs, list)
    assert isinstance(b.logprobs, list)
    for one, other in zip(a.logprobs, b.logprobs, strict=False):
        if one.text != other.text:
            assert one.top[0][1] - one.top[1][1] < tolerance, (one, other)
            return
        assert abs(one.logprob - other.logprob) < tolerance, (one, other)
    assert a.text == b.text
