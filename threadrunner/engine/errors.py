"""What can go wrong in the engine beside the C library, in the engine's own words; backends translate."""

from __future__ import annotations

from threadrunner.engine.llama.errors import EngineError


class PromptTooLong(EngineError):
    """Both counts are of tokens."""

    def __init__(self, prompt_tokens: int, limit: int) -> None:
        super().__init__(f"the prompt has {prompt_tokens} tokens, the context holds {limit}")
        self.prompt_tokens = prompt_tokens
        self.limit = limit


class QueueFull(EngineError):
    """Both counts are of requests."""

    def __init__(self, queued: int, limit: int) -> None:
        super().__init__(f"{queued} requests are waiting, the limit is {limit}")
        self.queued = queued
        self.limit = limit


class BadTemplate(EngineError):
    """The model's chat template is not valid, failed, took too much time or space, or would leave something out."""


class Refused(BadTemplate):
    """The template itself refused the conversation, by raise_exception()."""


class Unsupported(EngineError):
    """This model cannot do that."""
