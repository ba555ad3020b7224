"""A whole backend: says each word of the prompt backwards. Copy it, and put your model where the words are.

The daemon starts a process for each loaded model, makes one backend in it and calls it from one thread: `load` once,
then `submit`, `step` and `cancel` as requests come and go, and last `close`. So nothing here needs a lock, and a crash
ends this process only. What a method may raise is in threadrunner.api.errors; any other exception is a crash, but in
`submit`, where it ends that request alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from threadrunner.api.errors import NotSupported
from threadrunner.api.generation import Generated, GenerateParams, Timings, Usage
from threadrunner.backends.base import Event, Finished, ModelFacts, ModelSpec, Params, Piece

CONTEXT = 4096  # tokens; here a word is a token


class _Answer:
    """One request under way."""

    def __init__(self, model: str, words: list[str], max_tokens: int | None) -> None:
        self.model = model
        self.words = words[:max_tokens]
        self.complete = len(self.words) == len(words)
        self.prompt_tokens = len(words)
        self.pieces: list[str] = []
        self.began = time.monotonic()

    def next_piece(self) -> str | None:
        """The next piece of text; None at the end."""
        if len(self.pieces) == len(self.words):
            return None
        word = self.words[len(self.pieces)][::-1]
        self.pieces.append(f" {word}" if self.pieces else word)
        return self.pieces[-1]

    def result(self) -> Generated:
        return Generated(
            text="".join(self.pieces),
            finish_reason="stop" if self.complete else "length",
            model=self.model,
            usage=Usage(prompt_tokens=self.prompt_tokens, completion_tokens=len(self.pieces)),
            timings=Timings(decode_ms=(time.monotonic() - self.began) * 1e3),
        )


class ReverseBackend:
    def __init__(self) -> None:
        self._model = ""
        self._answers: dict[int, _Answer] = {}

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        """Load `spec.path` here, a GGUF file, or nothing; raise ModelLoadFailed with the reason if that fails."""
        self._model = spec.name
        report(1, 1)  # how far the load is: shown as a progress bar
        return ModelFacts(context=CONTEXT, facts={"direction": "backwards"})  # the facts are shown by `status --json`

    def submit(self, id: int, params: Params) -> None:
        """Take a request, or refuse it. Several may be open at a time; the real work belongs in `step`."""
        if not isinstance(params, GenerateParams):
            raise NotSupported("the reverse backend only generates")
        if params.n > 1 or params.grammar is not None or params.json_schema not in (None, False):
            raise NotSupported("the reverse backend gives one unconstrained answer")  # better than ignoring them
        prompt = params.prompt if params.prompt is not None else (params.messages or [])[-1].text
        self._answers[id] = _Answer(self._model, prompt.split(), params.max_tokens)

    def step(self) -> list[Event]:
        """Advance every request by about a token, so that none waits for another and a cancel takes effect soon."""
        events: list[Event] = []
        for id, answer in list(self._answers.items()):
            piece = answer.next_piece()
            if piece is None:
                del self._answers[id]
                events.append(Finished(id, answer.result()))
            else:
                events.append(Piece(id, 0, piece))
        return events

    def cancel(self, id: int) -> None:
        """Forget the request: no event for it may follow. It may have finished a moment ago."""
        self._answers.pop(id, None)

    def close(self) -> None:
        """The model is unloaded: keep what the next process should find, give back what outlives this one."""
