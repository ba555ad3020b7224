"""A backend without a model: answers lorem ipsum and the prompt's words. For tests, demos and front-end work.

Where `tool_choice` says that a tool must be called, it calls that one, or the first, with the prompt as each text among
the arguments; the call's result is then what it repeats the words of.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from string import punctuation

from threadrunner.api.chat import FunctionCall, NamedTool
from threadrunner.backends.base import (
    CallPart,
    Event,
    Finished,
    Generated,
    GenerateParams,
    ModelFacts,
    ModelSpec,
    NotSupported,
    Params,
    Piece,
    Timings,
    Tool,
    ToolCall,
    Usage,
)

LOREM = "lorem ipsum dolor sit amet"
CONTEXT = 4096
_calls = itertools.count(1)


class _Running:
    """One answer under way: a word each step."""

    def __init__(self, params: GenerateParams, prompt: str) -> None:
        stripped = (word.strip(punctuation) for word in prompt.split())
        words = LOREM.split() + [f"{word}." for word in stripped if word]
        self.words = words if params.max_tokens is None else words[: params.max_tokens]
        self.complete = len(self.words) == len(words)
        self.prompt_tokens = len(prompt.split())
        self.given = 0
        self.began = time.monotonic()
        self.first = 0.0

    def next_piece(self) -> str:
        if not self.given:
            self.first = time.monotonic()
        word = self.words[self.given]
        self.given += 1
        return word if self.given == 1 else f" {word}"

    def next_event(self, id: int) -> Piece:
        return Piece(id, 0, self.next_piece())

    def result(self) -> Generated:
        decode = time.monotonic() - (self.first or self.began)
        return Generated(
            text=" ".join(self.words),
            finish_reason="stop" if self.complete else "length",
            model="dummy",
            usage=Usage(prompt_tokens=self.prompt_tokens, completion_tokens=len(self.words)),
            timings=Timings(
                ttft_ms=max(0.0, self.first - self.began) * 1e3,
                decode_ms=decode * 1e3,
                tokens_per_second=len(self.words) / decode if decode else 0.0,
            ),
        )


class _Calling(_Running):
    """One call under way."""

    def __init__(self, params: GenerateParams, prompt: str, tool: Tool) -> None:
        super().__init__(params, prompt)
        schema = tool.function.parameters
        properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
        texts = [name for name, part in properties.items() if isinstance(part, dict) and part.get("type") == "string"]
        self.call = ToolCall(f"call_{next(_calls)}", FunctionCall(tool.function.name))
        arguments = json.dumps(dict.fromkeys(texts, prompt), ensure_ascii=False)
        self.words = arguments.split(" ")

    def next_event(self, id: int) -> Piece:
        call = self.call
        part = CallPart(0) if self.given else CallPart(0, call.id, call.function.name)
        return Piece(id, 0, self.next_piece(), "call", part)

    def result(self) -> Generated:
        result = super().result()
        self.call.function.arguments, result.text = result.text, ""
        result.tool_calls, result.finish_reason = [self.call], "tool_calls"
        return result


def _must_be_called(params: GenerateParams) -> Tool | None:
    choice = params.tool_choice
    if isinstance(choice, NamedTool):
        return next((tool for tool in params.tools if tool.function.name == choice.function.name), None)
    return params.tools[0] if choice == "required" and params.tools else None


class DummyBackend:
    """See the module. Deterministic; every request advances by one word a step."""

    def __init__(self) -> None:
        self._running: dict[int, _Running] = {}

    def load(self, _spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        report(1, 1)
        return ModelFacts(context=CONTEXT, facts={"backend": "dummy"})

    def submit(self, id: int, params: Params) -> None:
        if not isinstance(params, GenerateParams):
            raise NotSupported("the dummy backend only generates; use a model that can do more")
        if params.prompt_tokens is not None:
            raise NotSupported("the dummy backend has no tokens; leave out prompt_tokens")
        if params.n > 1 or params.grammar is not None or params.json_schema not in (None, False):
            raise NotSupported("the dummy backend gives one unconstrained answer; leave out n, grammar and json_schema")
        prompt = params.prompt if params.prompt is not None else (params.messages or [])[-1].text
        tool = _must_be_called(params)
        self._running[id] = _Running(params, prompt) if tool is None else _Calling(params, prompt, tool)

    def step(self) -> list[Event]:
        events: list[Event] = []
        for id, running in list(self._running.items()):
            if running.given < len(running.words):
                events.append(running.next_event(id))
            else:
                del self._running[id]
                events.append(Finished(id, running.result()))
        return events

    def cancel(self, id: int) -> None:
        self._running.pop(id, None)

    def close(self) -> None:
        self._running.clear()
