"""What the types of params cannot say: which of them contradict each other."""

from __future__ import annotations

import msgspec

from threadrunner.api.chat import MAX_SCHEMA_BYTES, image_conflict, message_conflicts, tool_conflicts
from threadrunner.api.generation import GenerateParams
from threadrunner.api.sampling import SamplingParams
from threadrunner.api.votes import vote_conflicts


def conflicts(params: SamplingParams) -> str | None:
    """What the types alone cannot say: which of the params contradict each other, as an InvalidParams would put it;
    None where all is well. The daemon asks before a model is loaded, a backend because it also serves others."""
    if isinstance(params, GenerateParams) and (problem := _generate_conflicts(params) or _vote_conflicts(params)):
        return problem
    if params.grammar is not None and params.json_schema not in (None, False):
        return "give at most one of `grammar` and `json_schema`"
    if _size(params.json_schema) > MAX_SCHEMA_BYTES:
        return f"`json_schema` has more than {MAX_SCHEMA_BYTES} bytes"
    return None


def _vote_conflicts(params: GenerateParams) -> str | None:
    if params.vote is None:
        return None
    return vote_conflicts(params.vote, params.n, params.temperature, params.json_schema)


def _size(schema: object) -> int:
    """In bytes of JSON; 0 for one that nests too deep to be written, which a backend refuses with its place."""
    try:
        return len(msgspec.json.encode(schema))
    except RecursionError:
        return 0


def _generate_conflicts(params: GenerateParams) -> str | None:
    given = [name for name in ("prompt", "messages", "prompt_tokens") if getattr(params, name) is not None]
    if len(given) != 1:
        return "give exactly one of `prompt`, `messages` and `prompt_tokens`"
    as_it_is = params.raw or params.prompt_tokens is not None
    if as_it_is and (params.messages is not None or params.system is not None or params.memory or params.tools):
        return "`raw` continues a `prompt` as it is; leave out `messages`, `system`, `memory` and `tools`"
    if (params.echo or params.special) and not as_it_is:
        return "`echo` and `special` are for a prompt that is continued as it is: give `raw` too, or `prompt_tokens`"
    if params.grammar is not None and params.tools and params.tool_choice != "none":
        return "give at most one of `grammar` and `tools`: a call has a grammar of its own"
    if params.session is not None:  # it may know the calls that results answer, and the tools that a choice is among
        return _image_conflicts(params) or tool_conflicts(params.tools, "auto")
    problem = _image_conflicts(params) or message_conflicts(params.messages or ())
    return problem or tool_conflicts(params.tools, params.tool_choice)


def _image_conflicts(params: GenerateParams) -> str | None:
    if params.images and params.prompt is None:
        return "`images` go with a `prompt`; in `messages` give them as parts of the content"
    if params.prompt_logprobs is not None and params.has_images:
        return "a prompt with pictures has no log-probabilities; leave out `prompt_logprobs`"
    return image_conflict(params.images)
