"""What one engine takes at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from threadrunner.engine.errors import PromptTooLong, QueueFull, Unsupported
from threadrunner.engine.llama.model import Model

MAX_RUNNING = 16


@dataclass(frozen=True, slots=True)
class Limits:
    context: int
    """Maximum tokens of one sequence."""
    cells: int = 0
    """To which the context's cells may grow."""
    max_running: int = MAX_RUNNING
    """Sequences."""
    max_queued: int = 64
    """Requests."""

    def within(self, cells: int) -> Limits:
        """Where there can be no more cells."""
        return self if self.context <= cells else replace(self, context=cells)

    def check(self, prompt: int, waiting: int, running: int) -> None:
        """Whether one more request is taken, with so many tokens. Raises PromptTooLong, QueueFull."""
        if prompt >= self.context:
            raise PromptTooLong(prompt, self.context)
        if waiting >= self.max_queued + max(0, self.max_running - running):
            raise QueueFull(waiting, self.max_queued)


def must_generate(model: Model, *, remembers: bool) -> None:
    """`remembers`: its context has a cache. Raises Unsupported for a model that only embeds."""
    if model.has_encoder:
        raise Unsupported("this model has an encoder (T5 and its like); it can embed here, not generate")
    if model.only_embeds or not remembers:
        raise Unsupported("this model does not generate token by token; it can only embed")
