"""The engine's errors as the client's."""

from __future__ import annotations

from threadrunner.api import errors
from threadrunner.backends.base import Failed
from threadrunner.engine.errors import BadTemplate, PromptTooLong, QueueFull, Refused, Unsupported
from threadrunner.engine.llama.errors import BadGrammar, DamagedModel, EngineError, UnreadablePicture


def failed(id: int, error: EngineError) -> Failed:
    """The end of request `id` by this error."""
    translated = api_error(error)
    return Failed(id, translated.code, translated.message, translated.data)


def api_error(error: EngineError) -> errors.ApiError:
    """What a client is told, and what to do about it."""
    if isinstance(error, PromptTooLong):
        text = f"{error}; shorten it, or load the model with a larger context"
        return errors.ContextOverflow(text, prompt_tokens=error.prompt_tokens, limit=error.limit)
    if isinstance(error, QueueFull):
        return errors.Overloaded(f"{error}; try again later", queued=error.queued, limit=error.limit)
    if isinstance(error, DamagedModel):
        return errors.ModelLoadFailed(f"{error}; fetch it again, or use another")
    return _KINDS.get(type(error), errors.InternalError)(str(error))


_KINDS: dict[type[EngineError], type[errors.ApiError]] = {
    BadGrammar: errors.InvalidGrammar,
    Refused: errors.InvalidParams,
    UnreadablePicture: errors.InvalidParams,
    Unsupported: errors.NotSupported,
    BadTemplate: errors.NotSupported,
}
