"""The former home of what backends need, kept because installed plugins import it.

New code imports `threadrunner.backends.base`, or the module of this package that defines the name.
"""

from threadrunner.api.chat import Message
from threadrunner.api.fields import FinishReason, Priority
from threadrunner.api.generation import (
    Choice,
    ContextFile,
    Detokenized,
    DetokenizeParams,
    Embedded,
    EmbedParams,
    Generated,
    GenerateParams,
    InfillParams,
    Timings,
    Tokenized,
    TokenizeParams,
    TokenLogprob,
    Usage,
)

__all__ = [
    "Choice",
    "ContextFile",
    "DetokenizeParams",
    "Detokenized",
    "EmbedParams",
    "Embedded",
    "FinishReason",
    "GenerateParams",
    "Generated",
    "InfillParams",
    "Message",
    "Priority",
    "Timings",
    "TokenLogprob",
    "TokenizeParams",
    "Tokenized",
    "Usage",
]
