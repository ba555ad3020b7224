"""What can go wrong in the engine, in the engine's own words; backends translate."""

from __future__ import annotations


class EngineError(Exception):
    """Base of the engine's errors."""


class LoadError(EngineError):
    """The model could not be loaded; the text is llama.cpp's reason."""


class PromptTooLong(EngineError):
    def __init__(self, prompt_tokens: int, limit: int) -> None:
        super().__init__(f"the prompt has {prompt_tokens} tokens, the context holds {limit}")
        self.prompt_tokens = prompt_tokens
        self.limit = limit


class QueueFull(EngineError):
    def __init__(self, queued: int, limit: int) -> None:
        super().__init__(f"{queued} requests are waiting, the limit is {limit}")
        self.queued = queued
        self.limit = limit


class BadGrammar(EngineError):
    """A grammar or schema that cannot be enforced; nothing is generated without it."""


class BadTemplate(EngineError):
    """The model's chat template failed, or took too much time or space."""


class Unsupported(EngineError):
    """This model cannot do that."""
