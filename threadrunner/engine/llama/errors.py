"""What the C library refuses, in the engine's own words."""

from __future__ import annotations


class EngineError(Exception):
    """Base of the engine's errors."""


class LoadError(EngineError):
    """The model could not be loaded; the text is llama.cpp's reason."""


class ContextLost(Exception):
    """There is no context any more, nor the memory to make it again. Not an EngineError, which ends one request: none
    can go on, so the process must end."""


class UnreadablePicture(EngineError):
    """A picture that cannot be decoded."""


class DamagedModel(EngineError):
    """The model computes what is no number: its weights are damaged, or too large for their type."""


class BadGrammar(EngineError):
    """A grammar or schema that cannot be enforced; nothing is generated without it."""
