"""A backend that says what the prompt tells it to, in pieces of every kind.

The prompt is a script, its steps separated by `;`: `think TEXT`, `say TEXT`, `call NAME ARGUMENTS`, `cut` (the token
limit), `hang` (nothing more, until it is cancelled), `shown` (says what it was shown). After results it says the last
one.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from threadrunner.api.chat import CallPart, FunctionCall, Message, ToolCall
from threadrunner.api.errors import NotSupported
from threadrunner.api.generation import Generated, GenerateParams, Timings, Usage
from threadrunner.backends.base import Event, Finished, ModelFacts, ModelSpec, Params, Piece


class _Answer:
    def __init__(self, id: int, params: GenerateParams) -> None:
        self.id = id
        self.params = params
        self.messages = params.messages or [Message("user", params.prompt)]
        last = self.messages[-1]
        results = [message.text for message in self.messages if message.role == "tool"]
        self.script = last.text if last.role == "user" else f"say so: {results[-1]}"
        self.said = Generated("", "stop", "thinker", Usage(len(self.script)), Timings())
        self.events = self._run()

    def _run(self) -> Iterator[Event | None]:
        for step in self.script.split(";"):
            what, _, text = step.strip().partition(" ")
            if what == "hang":
                while True:
                    yield None
            if what == "cut":
                self.said.finish_reason = "length"
            elif what == "call":
                yield from self._call(*text.split(" ", 1))
            else:
                yield from self._say(what, self._shown() if what == "shown" else text)
        yield Finished(self.id, self.said)

    def _say(self, what: str, text: str) -> Iterator[Event]:
        for number, word in enumerate(text.split(" ")):
            piece = word if not number else f" {word}"
            self.said.usage.completion_tokens += 1
            if what == "think":
                self.said.usage.reasoning_tokens = (self.said.usage.reasoning_tokens or 0) + 1
                self.said.reasoning = (self.said.reasoning or "") + piece
                yield Piece(self.id, 0, piece, "reasoning")
            else:
                self.said.text += piece
                yield Piece(self.id, 0, piece)

    def _call(self, name: str, arguments: str) -> Iterator[Event]:
        calls = self.said.tool_calls = self.said.tool_calls or []
        id = f"c{sum(len(message.tool_calls) for message in self.messages) + len(calls) + 1}"
        calls.append(ToolCall(id, FunctionCall(name, arguments)))
        self.said.finish_reason = "tool_calls"
        yield Piece(self.id, 0, "", "call", CallPart(len(calls) - 1, id, name))
        for start in range(0, len(arguments), 7):
            self.said.usage.completion_tokens += 1
            yield Piece(self.id, 0, arguments[start : start + 7], "call", CallPart(len(calls) - 1))

    def _shown(self) -> str:
        shown: dict[str, Any] = {"messages": msgspec.to_builtins(self.messages)}
        if self.params.tools:
            shown["tools"] = [tool.function.name for tool in self.params.tools]
        shown["reasoning"] = self.params.reasoning
        return json.dumps(shown)


class ThinkerBackend:
    def __init__(self) -> None:
        self._open: dict[int, _Answer] = {}

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        return ModelFacts(context=1000)

    def submit(self, id: int, params: Params) -> None:
        if not isinstance(params, GenerateParams):
            raise NotSupported("thinker only generates")
        self._open[id] = _Answer(id, params)

    def step(self) -> list[Event]:
        events = [event for answer in list(self._open.values()) if (event := next(answer.events))]
        for event in events:
            if isinstance(event, Finished):
                del self._open[event.id]
        return events

    def cancel(self, id: int) -> None:
        self._open.pop(id, None)

    def close(self) -> None:
        pass
