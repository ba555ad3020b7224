"""Params and results of generate, infill, embed, tokenize and detokenize.

Unknown members of params are refused: a misspelt `max_token` must not be ignored in silence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from threadrunner.api.conversations import Source
from threadrunner.api.fields import (
    INT32_MAX,
    Candidates,
    FinishReason,
    KeepAlive,
    Logprobs,
    MaxTokens,
    MinP,
    ModelName,
    ModeName,
    Offline,
    Priority,
    RepeatPenalty,
    Seed,
    SessionName,
    Stop,
    Temperature,
    Timeout,
    TopK,
    TopP,
    described,
)


class Message(Struct, forbid_unknown_fields=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Target(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which model answers, and how long it stays."""

    model: ModelName | None = None
    backend: Annotated[str, described("llama, dummy or an installed plugin's name", max_length=64)] | None = None
    keep_alive: KeepAlive | None = None
    timeout: Timeout | None = None
    priority: Priority = "normal"
    offline: Offline = False


class SamplingParams(Target, kw_only=True, forbid_unknown_fields=True):
    """How tokens are chosen and when to end."""

    stream: Annotated[bool, described("send a `token` notification for each piece")] = True
    max_tokens: MaxTokens | None = None
    temperature: Temperature = 0.8
    top_k: TopK = 40
    top_p: TopP = 0.95
    min_p: MinP = 0.05
    repeat_penalty: RepeatPenalty = 1.0
    seed: Seed | None = None
    stop: Stop = field(default_factory=list)
    grammar: Annotated[str, described("GBNF, its start rule is `root`", max_length=1 << 20)] | None = None
    json_schema: (
        Annotated[dict[str, Any] | bool, described("the answer is JSON that fits this schema; true: any JSON")] | None
    ) = None
    logprobs: Logprobs | None = None
    n: Candidates = 1
    mode: ModeName | None = None
    default_model: Annotated[ModelName, described("where neither request, mode nor session names one")] | None = None
    default_backend: Annotated[str, described("likewise", max_length=64)] | None = None


class GenerateParams(SamplingParams, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of `prompt` and `messages`."""

    prompt: Annotated[str, described("one user turn; with `raw`, the text to continue as it stands")] | None = None
    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)] | None = None
    system: Annotated[str, described("goes before the conversation")] | None = None
    raw: Annotated[bool, described("no chat template")] = False
    context_overflow: Annotated[
        Literal["error", "truncate"],
        described("a prompt that does not fit is an error, or loses its oldest whole turns, never the system prompt"),
    ] = "error"
    session: (
        Annotated[
            SessionName,
            described("`prompt` is this conversation's next turn; `@last`, `@new`; made if it does not exist"),
        ]
        | None
    ) = None
    replace: Annotated[int, described("number of latest turns that this one replaces", ge=0, le=10_000)] = 0
    memory: (
        Annotated[bool, described("put what is remembered of the matter before the prompt; null: as the mode says")]
        | None
    ) = None


class ContextFile(Struct, forbid_unknown_fields=True):
    """Text from another file that is relevant to the one being edited."""

    path: str
    text: str


class InfillParams(SamplingParams, kw_only=True, forbid_unknown_fields=True):
    """Complete the code at the cursor, between `prefix` and `suffix`."""

    prefix: str
    suffix: str = ""
    path: Annotated[str, described("the file's name as the project knows it; the model is told")] | None = None
    language: Annotated[str, described("the editor's language id")] | None = None
    context: Annotated[list[ContextFile], Meta(max_length=64)] = field(default_factory=list)
    max_time_ms: (
        Annotated[int, described("a time budget: past it, generation ends at the next line's end", ge=1, le=INT32_MAX)]
        | None
    ) = None
    temperature: Temperature = 0.0


def conflicts(params: SamplingParams) -> str | None:
    """What the types alone cannot say: which of the params contradict each other, as an InvalidParams would put it;
    None where all is well. The daemon asks before a model is loaded, a backend because it also serves others."""
    if isinstance(params, GenerateParams):
        if (params.prompt is None) == (params.messages is None):
            return "give exactly one of `prompt` and `messages`"
        if params.raw and (params.messages is not None or params.system is not None or params.memory):
            return "`raw` continues a `prompt` as it is; leave out `messages`, `system` and `memory`"
    if params.grammar is not None and params.json_schema not in (None, False):
        return "give at most one of `grammar` and `json_schema`"
    return None


class EmbedParams(Target, kw_only=True, forbid_unknown_fields=True):
    input: Annotated[str | Annotated[list[str], Meta(max_length=256)], described("a text, or several")]


class TokenizeParams(Target, kw_only=True, forbid_unknown_fields=True):
    text: str


class DetokenizeParams(Target, kw_only=True, forbid_unknown_fields=True):
    tokens: Annotated[list[Annotated[int, Meta(ge=0, le=INT32_MAX)]], Meta(max_length=1_000_000)]


class Usage(Struct):
    """Counts of tokens. `prompt_tokens` is the whole prompt, `cached_tokens` the part that was not evaluated again."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Timings(Struct):
    """Milliseconds; `ttft_ms` runs from the request's arrival at the daemon to the first token."""

    queue_ms: float = 0.0
    load_ms: float = 0.0
    prefill_ms: float = 0.0
    ttft_ms: float = 0.0
    decode_ms: float = 0.0
    tokens_per_second: float = 0.0


class TokenLogprob(Struct):
    """One generated token, its log-probability, and the likeliest tokens at its place."""

    text: str
    logprob: float
    top: list[tuple[str, float]] = []


class Choice(Struct, omit_defaults=True):
    text: str
    finish_reason: FinishReason
    logprobs: list[TokenLogprob] | UnsetType = UNSET


class Generated(Struct):
    """The answer to `generate` and `infill`; `text` is choice 0's, `choices` is there when n > 1."""

    text: str
    finish_reason: FinishReason
    model: str
    usage: Usage
    timings: Timings
    session: str | None = None
    choices: list[Choice] | UnsetType = UNSET
    logprobs: list[TokenLogprob] | UnsetType = UNSET
    truncated_turns: Annotated[int, described("turns left out, under truncate or in a session")] | UnsetType = UNSET
    lost_answers: (
        Annotated[int, described("number of preceding turns whose answers were lost when a daemon was killed")]
        | UnsetType
    ) = UNSET
    sources: Annotated[list[Source], described("what `memory` put before the prompt")] | UnsetType = UNSET


class Embedded(Struct):
    model: str
    embeddings: list[list[float]]
    usage: Usage


class Tokenized(Struct):
    model: str
    tokens: list[int]


class Detokenized(Struct):
    model: str
    text: str
