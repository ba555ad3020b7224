"""Params of generate and infill to what the engine is asked, for one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from threadrunner.api import chat as api
from threadrunner.api.chat import message_conflicts, tool_conflicts
from threadrunner.api.conflicts import conflicts
from threadrunner.api.errors import InvalidParams
from threadrunner.api.generation import ApplyTemplateParams, GenerateParams, InfillParams
from threadrunner.api.sampling import SamplingParams
from threadrunner.backends.adapting import Adapters
from threadrunner.backends.album import Album
from threadrunner.backends.base import PRIORITIES
from threadrunner.backends.sampling import sampling_of
from threadrunner.backends.steer import steer
from threadrunner.engine.dialect import Dialect
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts.chat import ChatPrompt, Rendered
from threadrunner.engine.prompts.conversation import Message
from threadrunner.engine.prompts.detokenizer import Cutter
from threadrunner.engine.prompts.fim import InfillPrompts
from threadrunner.engine.prompts.fit import fit
from threadrunner.engine.prompts.infill_ends import TimeBudget, middle_ends
from threadrunner.engine.prompts.picture_marks import marked
from threadrunner.engine.sequence import Priority, Request
from threadrunner.engine.sight import Sight
from threadrunner.engine.tools.generic import in_words
from threadrunner.engine.tools.sink import ToolSpec

MAX_CANDIDATES = 64
"""Answers to one prompt; the API allows fewer, which callers in this process do not pass through."""
MAX_MS = 10**9
INFILL_TOKENS = 128
"""Maximum tokens of a middle when the request names no number: more is rarely wanted at a cursor."""


def priority_of(name: str) -> Priority:
    """The engine's priority for the API's; normal for a name that it does not know."""
    return Priority(PRIORITIES.get(name, Priority.NORMAL))


class RequestBuilder:
    """Builds requests for one model, whose tokens, chat template and infill layout it knows.

    Its methods raise InvalidParams for params that contradict each other, and the engine's errors: BadTemplate (of a
    chat only: nothing else needs the template), BadGrammar, PromptTooLong, Unsupported.
    """

    def __init__(
        self,
        vocab: Vocab,
        chat_template: str | None,
        tools_template: str | None,
        context: int,
        usual: Sampling | None = None,
    ) -> None:
        """`tools_template` is a template of its own for chats with tools, `context` the maximum of one request's
        tokens, `usual` how tokens are chosen where a request says nothing of it."""
        self.chat_prompt = ChatPrompt(vocab, chat_template, tools_template)
        self.dialect = Dialect(vocab, tools_template or chat_template, lambda: self.chat_prompt.takes_tools)
        self.adapters = Adapters()
        self.sight: Sight | None = None
        """What looks at pictures, if the model has that."""
        self.blind_because = ""
        """Why it has not."""
        self._vocab = vocab
        self._context = context
        self.usual = usual or Sampling()
        self._infill_prompts: InfillPrompts | None = None

    @property
    def infill_prompts(self) -> InfillPrompts:
        """Made on first need: most models cannot infill. Raises Unsupported."""
        if self._infill_prompts is None:
            self._infill_prompts = InfillPrompts(self._vocab)
        return self._infill_prompts

    def generate(self, id: int, params: GenerateParams) -> tuple[Request, int | None]:
        """The request, and how many turns `truncate` left out of it (None: it was not asked for)."""
        _refuse_conflicts(params)
        # where none must be called none are told, so that the model is not tempted
        tools = [] if params.tool_choice == "none" else tool_specs(params.tools)
        prompt, truncated = self._prompt(params, tools, self._album())
        sampling = self._sampling(params)
        request = Request(
            id,
            prompt.tokens,
            sampling,
            max_tokens=params.max_tokens,
            priority=priority_of(params.priority),
            stops=params.stop,
            n=params.n,
            spans=prompt.spans,
            blend=self.adapters.blend(params.lora),
            scored=params.prompt_logprobs,
            reproducible=params.seed is not None or sampling.temperature <= 0 or params.logprobs is not None,
        )
        if not params.raw and params.prompt_tokens is None:
            steer(request, self.dialect, params, tools, prompt.opening)
        return request, truncated

    def _album(self) -> Album:
        return Album(self.sight, self.blind_because)

    def _prompt(self, params: GenerateParams, tools: Sequence[ToolSpec], album: Album) -> tuple[Rendered, int | None]:
        if params.prompt_tokens is not None:
            return Rendered(self._checked(params.prompt_tokens), "", ""), None
        truncate = params.context_overflow == "truncate"
        if params.raw:
            text = album.raw(params.prompt or "", params.images)
            tokens = self.chat_prompt.plain(text, special=params.special)
            return album.put(Rendered(tokens, "", ""), marked([text])), 0 if truncate else None
        must = params.tool_choice not in ("auto", "none")
        build = self._builder(tools, template_variables(params), album, must=must)
        messages = _messages(params, album)
        return fit(messages, build, self._context) if truncate else (build(messages), None)

    def _builder(
        self, tools: Sequence[ToolSpec], variables: Mapping[str, Any], album: Album, *, must: bool = False
    ) -> Callable[[Sequence[Message]], Rendered]:
        """Renders a conversation: tools as the template has them, or in words where it has none."""
        prompt = self.chat_prompt

        def chat(messages: Sequence[Message], told: Sequence[dict[str, Any]] = ()) -> Rendered:
            rendered = prompt.chat(messages, told, variables)
            return album.put(rendered, marked(message["content"] for message in messages))

        if tools and not self.dialect.generic:
            told = plain_tools(tools)
            return lambda messages: chat(messages, told)

        def in_our_words(messages: Sequence[Message]) -> Rendered:
            known = prompt.takes_calls and prompt.takes_results
            if tools or (not known and any(m["role"] == "tool" or m.get("tool_calls") for m in messages)):
                messages = in_words(messages, tools, must=must)
            return chat(messages)

        return in_our_words

    def apply_template(self, params: ApplyTemplateParams) -> Rendered:
        """What a model is shown for a conversation."""
        if problem := message_conflicts(params.messages) or tool_conflicts(params.tools, "auto"):
            raise InvalidParams(problem)
        album = self._album()
        build = self._builder(tool_specs(params.tools), params.template_vars, album)
        return build(plain_messages(params.messages, album))

    def _checked(self, tokens: list[int]) -> list[int]:
        if (largest := max(tokens)) >= self._vocab.n_tokens:
            raise InvalidParams(f"`prompt_tokens` has {largest}; this model's are 0 to {self._vocab.n_tokens - 1}")
        return tokens

    def _sampling(self, params: SamplingParams) -> Sampling:
        return sampling_of(params, self.usual, self._vocab.n_tokens)

    def _infill_sampling(self, params: InfillParams) -> Sampling:
        sampling = self._sampling(params)
        told = params.confidence and sampling.logprobs is None
        return replace(sampling, logprobs=0) if told else sampling

    def infill(self, id: int, params: InfillParams) -> Request:
        _refuse_conflicts(params)
        prompts = self.infill_prompts
        max_tokens = INFILL_TOKENS if params.max_tokens is None else params.max_tokens
        room = self._context - min(max_tokens, self._context // 4) - 1
        context = [(file.path, file.text) for file in params.context]
        prompt = prompts.build(params.prefix, params.suffix, params.path, context, room)

        def cutters() -> list[Cutter]:
            ends: list[Cutter] = [middle_ends(params.prefix, params.suffix, params.language, params.path)]
            return ends if params.max_time_ms is None else [*ends, TimeBudget(min(params.max_time_ms, MAX_MS) / 1e3)]

        return Request(
            id,
            prompt.tokens,
            self._infill_sampling(params),
            max_tokens=max_tokens,
            priority=priority_of(params.priority),
            stops=params.stop,
            n=params.n,
            forced=prompt.forced,
            blend=self.adapters.blend(params.lora),
            cutters=cutters,
            reproducible=params.seed is not None or params.logprobs is not None,
            stop_tokens=prompts.stop_tokens,
        )


def _refuse_conflicts(params: SamplingParams) -> None:
    if problem := conflicts(params):
        raise InvalidParams(problem)
    if not 1 <= params.n <= MAX_CANDIDATES:
        raise InvalidParams(f"`n` must be 1 to {MAX_CANDIDATES}, not {params.n}")
    if (params.max_tokens or 0) < 0 or (params.logprobs or 0) < 0:
        raise InvalidParams("`max_tokens` and `logprobs` cannot be less than 0")


def _messages(params: GenerateParams, album: Album) -> list[Message]:
    system: list[Message] = [] if params.system is None else [{"role": "system", "content": params.system}]
    if params.messages is None:
        return [*system, {"role": "user", "content": album.prompt(params.prompt or "", params.images)}]
    return [*system, *plain_messages(params.messages, album)]


def tool_specs(tools: Sequence[api.Tool]) -> list[ToolSpec]:
    """Tools of the wire as the engine knows them."""
    functions = [tool.function for tool in tools]
    return [ToolSpec(f.name, f.parameters if isinstance(f.parameters, dict) else {}, f.description) for f in functions]


def plain_messages(messages: Sequence[api.Message], album: Album) -> list[Message]:
    """Messages of the wire as a template's prompt takes them."""
    return [
        {
            "role": m.role,
            "content": album.content(m),
            **({"tool_calls": msgspec.to_builtins(m.tool_calls)} if m.tool_calls else {}),
            **({} if m.tool_call_id is None else {"tool_call_id": m.tool_call_id}),
            **({} if m.reasoning is None else {"reasoning": m.reasoning}),
        }
        for m in messages
    ]


def plain_tools(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Tools as a template's prompt takes them: `parameters` always a schema of an object, since templates look into
    it."""
    plain = []
    for tool in tools:
        parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
        function = {"name": tool.name, "description": tool.description, "parameters": parameters}
        plain.append({"type": "function", "function": function})
    return plain


def template_variables(params: GenerateParams) -> dict[str, Any]:
    """What the chat template is told beside the conversation; `reasoning` "off" in all ways that templates know."""
    off = {"enable_thinking": False, "thinking": False} if params.reasoning == "off" else {}
    return {**off, **params.template_vars}
