"""What a request is for, as `[route]` calls it: pure."""

from __future__ import annotations

from threadrunner.api.generation import EmbedParams, GenerateParams, InfillParams, RerankParams
from threadrunner.api.models import LoadParams
from threadrunner.api.sampling import Target


def task_of(params: Target | LoadParams, long_from: int) -> str | None:
    """None: nothing that a model can be named for."""
    match params:
        case InfillParams():
            return "infill"
        case EmbedParams():
            return "embed"
        case RerankParams():
            return "rerank"
        case GenerateParams():
            return _answering(params, long_from)
    return None


def _answering(params: GenerateParams, long_from: int) -> str:
    """A picture comes first, then a long text: most models cannot take them, whatever else is asked."""
    if params.has_images:
        return "pictures"
    if _characters(params) > long_from:
        return "long"
    return "tools" if params.tools and params.tool_choice != "none" else "chat"


def _characters(params: GenerateParams) -> int:
    said = len(params.prompt or "") + len(params.system or "")
    return said + sum(len(message.text) for message in params.messages or ())
