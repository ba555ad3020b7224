"""What a request says of tools and thoughts, to what the engine keeps its answers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from threadrunner.api.chat import NamedTool, ReasoningMode
from threadrunner.api.generation import GenerateParams
from threadrunner.engine.dialect import Dialect, Speech
from threadrunner.engine.sequence import Request
from threadrunner.engine.steering import Rules
from threadrunner.engine.tools.families import splitter
from threadrunner.engine.tools.layout import Thoughts
from threadrunner.engine.tools.sink import ToolSpec

_THOUGHTS: dict[ReasoningMode, Thoughts] = {"split": "split", "raw": "aloud", "off": "dropped"}


def steer(request: Request, dialect: Dialect, params: GenerateParams, tools: Sequence[ToolSpec], opening: str) -> None:
    """Complete the request. `opening` is what stands open at the prompt's end. Raises BadGrammar."""
    choice, many = params.tool_choice, params.parallel_tool_calls
    if isinstance(choice, NamedTool):
        tools = [tool for tool in tools if tool.name == choice.function.name]
        many = False
    if not tools and dialect.thought is None:
        return
    speech = dialect.speech(tools, opening=opening, thoughts=_THOUGHTS[params.reasoning], many=many)
    answer, must = request.sampling.constraint, choice not in ("auto", "none")
    if tools and must:
        answer = speech.required()
    elif tools and params.json_schema not in (None, False):
        answer = speech.calls_or_json(params.json_schema)
    _complete(request, dialect, speech, must=must)
    # in channels a call's grammar has the thought before it, so there is no second one behind it
    later = None if dialect.channels else answer
    request.rules = Rules(later, speech.calls, speech.arguments, speech.tokens) if tools else Rules(later)
    if params.reasoning == "off" or params.reasoning_budget is not None:
        request.thought_budget = 0 if params.reasoning == "off" else params.reasoning_budget
    # what holds for the answer does not hold in a thought
    request.sampling = replace(request.sampling, constraint=None if speech.layout.thinking else answer)
    request.thought_begin = frozenset() if answer is None else dialect.thought_begin()


def _complete(request: Request, dialect: Dialect, speech: Speech, *, must: bool) -> None:
    layout = speech.layout
    request.splitter = lambda listener: splitter(layout, listener, speech.new_id)
    request.markers = speech.markers
    request.stop_tokens = speech.stop_tokens
    request.thought_end = dialect.thought_end(must=must)
