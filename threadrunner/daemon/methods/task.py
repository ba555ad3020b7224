"""What a request is for, as `[route]` calls it: pure."""

from __future__ import annotations

from threadrunner.api.generation import EmbedParams, GenerateParams, InfillParams, RerankParams
from threadrunner.api.models import LoadParams
from threadrunner.api.sampling import Target


def task_of(params: Target | LoadParams, long_from: int) -> str | None:
    """None: nothing that a model can be named for. A long text comes first: it needs a model that can read it, whatever
    else is asked."""
    match params:
        case InfillParams():
            return "infill"
        case EmbedParams():
            return "embed"
        case RerankParams():
            return "rerank"
        case GenerateParams():
            if _characters(params) > long_from:
                return "long"
            return "tools" if params.tools and params.tool_choice != "none" else "chat"
    return None


def _characters(params: GenerateParams) -> int:
    said = len(params.prompt or "") + len(params.system or "")
    return said + sum(len(message.text) for message in params.messages or ())
