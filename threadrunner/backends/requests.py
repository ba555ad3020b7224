"""Params of generate and infill to what the engine is asked, for one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from threadrunner.api.errors import InvalidParams
from threadrunner.api.generation import GenerateParams, InfillParams, conflicts
from threadrunner.api.sampling import SamplingParams
from threadrunner.backends.base import PRIORITIES
from threadrunner.engine.llama.sampler import Sampling
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts import grammar_cost, json_schema
from threadrunner.engine.prompts.chat import ChatPrompt, fit
from threadrunner.engine.prompts.detokenizer import Cutter
from threadrunner.engine.prompts.fim import InfillPrompts
from threadrunner.engine.prompts.infill_ends import MiddleEnds, TimeBudget
from threadrunner.engine.sequence import Priority, Request

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

    def __init__(self, vocab: Vocab, chat_template: str | None, context: int) -> None:
        """`context` is the maximum of one request's tokens."""
        self.chat_prompt = ChatPrompt(vocab, chat_template)
        self._vocab = vocab
        self._context = context
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
        prompt, truncated = self._prompt(params)
        sampling = _sampling(params)
        request = Request(
            id,
            prompt,
            sampling,
            max_tokens=params.max_tokens,
            priority=priority_of(params.priority),
            stops=params.stop,
            n=params.n,
            reproducible=params.seed is not None or sampling.temperature <= 0 or params.logprobs is not None,
        )
        return request, truncated

    def _prompt(self, params: GenerateParams) -> tuple[list[int], int | None]:
        truncate = params.context_overflow == "truncate"
        if params.raw:
            return self.chat_prompt.plain(params.prompt or ""), 0 if truncate else None
        messages = _messages(params)
        if not truncate:
            return self.chat_prompt.chat(messages), None
        return fit(messages, self.chat_prompt.chat, self._context)

    def infill(self, id: int, params: InfillParams) -> Request:
        _refuse_conflicts(params)
        prompts = self.infill_prompts
        max_tokens = INFILL_TOKENS if params.max_tokens is None else params.max_tokens
        room = self._context - min(max_tokens, self._context // 4) - 1
        context = [(file.path, file.text) for file in params.context]
        prompt = prompts.build(params.prefix, params.suffix, params.path, context, room)
        head = params.prefix[params.prefix.rfind("\n") + 1 :]

        def cutters() -> list[Cutter]:
            ends: list[Cutter] = [MiddleEnds(head, params.suffix)]
            return ends if params.max_time_ms is None else [*ends, TimeBudget(min(params.max_time_ms, MAX_MS) / 1e3)]

        return Request(
            id,
            prompt.tokens,
            _sampling(params),
            max_tokens=max_tokens,
            priority=priority_of(params.priority),
            stops=params.stop,
            n=params.n,
            forced=prompt.forced,
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


def _messages(params: GenerateParams) -> list[Mapping[str, str]]:
    messages: list[Mapping[str, str]] = []
    if params.system is not None:
        messages.append({"role": "system", "content": params.system})
    if params.messages is None:
        return [*messages, {"role": "user", "content": params.prompt or ""}]
    return [*messages, *({"role": m.role, "content": m.text} for m in params.messages)]


def _sampling(params: SamplingParams) -> Sampling:
    grammar = params.grammar
    if params.json_schema not in (None, False):
        grammar = json_schema.to_grammar(params.json_schema)
    elif grammar is not None:
        json_schema.check_grammar(grammar)
    if grammar is not None:
        grammar_cost.check(grammar)
    usual = Sampling()
    return Sampling(
        temperature=_given(params.temperature, usual.temperature),
        top_k=_given(params.top_k, usual.top_k),
        top_p=_given(params.top_p, usual.top_p),
        min_p=_given(params.min_p, usual.min_p),
        repeat_penalty=_given(params.repeat_penalty, usual.repeat_penalty),
        seed=params.seed,
        grammar=grammar,
        logprobs=params.logprobs,
    )


T = TypeVar("T")


def _given(value: T | None, usual: T) -> T:
    return usual if value is None else value
