"""A whole backend by somebody else: gives the prompt back in capitals, a word a step."""

from collections.abc import Callable

from threadrunner.api import types as t
from threadrunner.api.errors import NotSupported
from threadrunner.backends.base import Event, Finished, ModelFacts, ModelSpec, Params, Piece


class ShoutBackend:
    def __init__(self) -> None:
        self._words: dict[int, list[str]] = {}
        self._said: dict[int, str] = {}

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        return ModelFacts(context=1000, facts={"voice": "loud"})

    def submit(self, id: int, params: Params) -> None:
        if not isinstance(params, t.GenerateParams) or params.prompt is None:
            raise NotSupported("shout takes a prompt")
        self._words[id] = params.prompt.upper().split()
        self._said[id] = ""

    def step(self) -> list[Event]:
        events: list[Event] = []
        for id, words in list(self._words.items()):
            if words:
                piece = (" " if self._said[id] else "") + words.pop(0)
                self._said[id] += piece
                events.append(Piece(id, 0, piece))
            else:
                del self._words[id]
                text = self._said.pop(id)
                events.append(Finished(id, t.Generated(text, "stop", "shout", t.Usage(), t.Timings())))
        return events

    def cancel(self, id: int) -> None:
        self._words.pop(id, None)
        self._said.pop(id, None)

    def close(self) -> None:
        pass
