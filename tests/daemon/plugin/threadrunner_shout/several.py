"""A backend with several answers, which the prompt tells it: `7 | 8 | hold` are those of candidates 0, 1 and 2.

They are complete one after another, one a step; `hold` never is, and those behind it come all the same. One answer (n
is 1) is the model's name and the prompt; the model `silent` never gives it.
"""

import time
from collections.abc import Callable

from threadrunner.api.errors import NotSupported
from threadrunner.api.generation import Choice, Generated, GenerateParams, Timings, Usage
from threadrunner.backends.base import CandidateDone, Event, Finished, ModelFacts, ModelSpec, Params


class _Answers:
    def __init__(self, model: str, params: GenerateParams) -> None:
        said = params.prompt if params.prompt is not None else (params.messages or [])[-1].text
        self.texts = [text.strip() for text in said.split("|")] if params.n > 1 else [f"{model}: {said}"]
        self.waiting = [i for i, text in enumerate(self.texts) if text != "hold" and model != "silent"]
        self.n = params.n
        self.votes = params.vote is not None
        self.done = 0

    def result(self, text: str) -> Generated:
        return Generated(text, "stop", "several", Usage(3, 0, self.done), Timings())


class SeveralBackend:
    def __init__(self) -> None:
        self._open: dict[int, _Answers] = {}
        self._name = ""

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        self._name = spec.name
        return ModelFacts(context=1000)

    def submit(self, id: int, params: Params) -> None:
        if not isinstance(params, GenerateParams):
            raise NotSupported("several only generates")
        self._open[id] = _Answers(self._name, params)

    def step(self) -> list[Event]:
        events: list[Event] = []
        for id, answers in list(self._open.items()):
            if answers.waiting:
                index = answers.waiting.pop(0)
                answers.done += 1
                if answers.votes:
                    events.append(CandidateDone(id, index, answers.result(answers.texts[index])))
            else:
                time.sleep(0.001)
            if answers.done == answers.n:
                del self._open[id]
                result = answers.result(answers.texts[0])
                if answers.n > 1:
                    result.choices = [Choice(text, "stop") for text in answers.texts]
                events.append(Finished(id, result))
        return events

    def cancel(self, id: int) -> None:
        self._open.pop(id, None)

    def gauges(self) -> dict[str, int | float]:
        return {"active": len(self._open)}

    def close(self) -> None:
        pass
