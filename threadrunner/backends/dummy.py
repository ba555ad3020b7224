"""A backend without a model: answers lorem ipsum and the prompt's words. For tests, demos and front-end work.

A line of the prompt that begins with `!think ` is what it thinks first; one that begins with `!call ` and a tool's name
is a call, the rest of the line its arguments:

    !think It is about Bonn.
    !call weather {"city": "Bonn"}

Where a call is required and the prompt has none, it calls that tool, or the first one, with the prompt as each text
among the arguments.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from string import punctuation
from typing import Any

from msgspec import UNSET

from threadrunner.api.chat import FunctionCall, NamedTool
from threadrunner.api.fields import FinishReason
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
_numbers = itertools.count(1)


class _Script:
    """What a prompt asks for: thoughts, calls, and the words of the text."""

    def __init__(self, params: GenerateParams, prompt: str) -> None:
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []
        said = []
        names = {tool.function.name for tool in params.tools} if params.tool_choice != "none" else set()
        for line in prompt.splitlines():
            name, _, arguments = line.removeprefix("!call ").partition(" ")
            if line.startswith("!think ") and params.reasoning != "raw":
                self.thoughts += line.split()[1:]
            elif line.startswith("!call ") and name in names:
                self._call(name, arguments)
            else:
                said.append(line)
        if not self.calls and params.tool_choice not in ("auto", "none"):
            function = _required(params).function
            self._call(function.name, _arguments(function.parameters, prompt))
        if not params.parallel_tool_calls:
            del self.calls[1:]
        stripped = (word.strip(punctuation) for word in " ".join(said).split())
        self.words = [] if self.calls else LOREM.split() + [f"{word}." for word in stripped if word]

    def _call(self, name: str, arguments: str) -> None:
        self.calls.append(ToolCall(f"call_{next(_numbers)}", FunctionCall(name, arguments or "{}")))


def _required(params: GenerateParams) -> Tool:
    choice = params.tool_choice
    wanted = choice.function.name if isinstance(choice, NamedTool) else params.tools[0].function.name
    return next(tool for tool in params.tools if tool.function.name == wanted)


def _arguments(schema: dict[str, Any] | bool | None, text: str) -> str:
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    texts = [name for name, part in properties.items() if isinstance(part, dict) and part.get("type") == "string"]
    return json.dumps(dict.fromkeys(texts, text), ensure_ascii=False)


class _Running:
    """One answer under way: a word, or a piece of a call, each step."""

    def __init__(self, id: int, params: GenerateParams, prompt: str) -> None:
        self._script = script = _Script(params, prompt)
        self._drops = params.reasoning == "off"
        words = script.words
        self.words = words if params.max_tokens is None else words[: params.max_tokens]
        self.complete = len(self.words) == len(words)
        self.prompt_tokens = len(prompt.split())
        self.pieces = self._pieces(id)
        self.began = time.monotonic()
        self.first = 0.0

    def next_piece(self) -> Piece | None:
        """None after the last one."""
        self.first = self.first or time.monotonic()
        return next(self.pieces, None)

    def _pieces(self, id: int) -> Iterator[Piece]:
        thoughts = [] if self._drops else self._script.thoughts
        for i, word in enumerate(thoughts):
            yield Piece(id, 0, f" {word}" if i else word, "reasoning")
        for i, word in enumerate(self.words):
            yield Piece(id, 0, f" {word}" if i else word)
        for i, call in enumerate(self._script.calls):
            yield Piece(id, 0, "", "call", CallPart(i, call.id, call.function.name))
            arguments = str(call.function.arguments)
            half = len(arguments) // 2
            for part in filter(None, (arguments[:half], arguments[half:])):
                yield Piece(id, 0, part, "call", CallPart(i))

    def result(self) -> Generated:
        decode = time.monotonic() - (self.first or self.began)
        script = self._script
        count = len(self.words) + len(script.thoughts) + len(script.calls)
        reason: FinishReason = "tool_calls" if script.calls else "stop" if self.complete else "length"
        return Generated(
            text=" ".join(self.words),
            finish_reason=reason,
            model="dummy",
            usage=Usage(self.prompt_tokens, completion_tokens=count, reasoning_tokens=len(script.thoughts) or UNSET),
            timings=Timings(
                ttft_ms=max(0.0, self.first - self.began) * 1e3,
                decode_ms=decode * 1e3,
                tokens_per_second=count / decode if decode else 0.0,
            ),
            tool_calls=script.calls or UNSET,
            reasoning=" ".join(script.thoughts) if script.thoughts and not self._drops else UNSET,
        )


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
            raise NotSupported("the dummy backend has no tokens; leave out `prompt_tokens`")
        if params.n > 1 or params.grammar is not None or params.json_schema not in (None, False):
            raise NotSupported(
                "the dummy backend gives one unconstrained answer; leave out `n`, `grammar` and `json_schema`"
            )
        prompt = params.prompt if params.prompt is not None else (params.messages or [])[-1].text
        self._running[id] = _Running(id, params, prompt)

    def step(self) -> list[Event]:
        events: list[Event] = []
        for id, running in list(self._running.items()):
            if (piece := running.next_piece()) is not None:
                events.append(piece)
            else:
                del self._running[id]
                events.append(Finished(id, running.result()))
        return events

    def cancel(self, id: int) -> None:
        self._running.pop(id, None)

    def close(self) -> None:
        self._running.clear()
