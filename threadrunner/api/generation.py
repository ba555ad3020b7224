"""Params and results of generate, infill, embed, tokenize and detokenize.

Unknown members of params are refused: a misspelt `max_token` must not be ignored in silence.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from threadrunner.api.chat import (
    MAX_IMAGES,
    ImagePart,
    Message,
    ReasoningMode,
    TemplateVars,
    ToolCall,
    ToolChoice,
    Tools,
)
from threadrunner.api.conversations import Source
from threadrunner.api.fields import INT32_MAX, FinishReason, SessionName, Temperature, described
from threadrunner.api.sampling import SamplingParams, Target
from threadrunner.api.votes import Vote, Voted

MAX_TEXTS = 4096
MAX_NUMBERS = 1 << 21
"""Of all vectors in one answer: 45 MB of JSON."""

TokenId = Annotated[int, Meta(ge=0, le=INT32_MAX)]


class GenerateParams(SamplingParams, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of `prompt`, `messages` and `prompt_tokens`."""

    prompt: Annotated[str, described("one user turn; with `raw`, the text to continue as it stands")] | None = None
    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)] | None = None
    images: Annotated[
        list[ImagePart],
        described(
            "pictures for `prompt`, before its text, or with `raw` where it has <__media__>; in `messages`: parts",
            max_length=MAX_IMAGES,
        ),
    ] = field(default_factory=list)
    system: Annotated[str, described("goes before the conversation")] | None = None
    raw: Annotated[bool, described("no chat template")] = False
    special: Annotated[
        bool, described("with `raw`: the texts of control tokens in the prompt, say <|im_start|>, are these tokens")
    ] = False
    context_overflow: Annotated[
        Literal["error", "truncate"],
        described("a prompt that does not fit is an error, or loses its oldest whole turns, never the system prompt"),
    ] = "error"
    session: (
        Annotated[
            SessionName,
            described(
                "`prompt` is this conversation's next turn, or `messages` with the results of its open calls, and the "
                "user's if there is one; `@last`, `@new`; made if it does not exist"
            ),
        ]
        | None
    ) = None
    replace: Annotated[int, described("number of latest turns that this one replaces", ge=0, le=10_000)] = 0
    tools: Tools = field(default_factory=list)
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: Annotated[bool, described("false: at most one call in an answer")] = True
    reasoning: ReasoningMode = "split"
    reasoning_budget: (
        Annotated[
            int,
            described("tokens of thought; past them the thought is ended and the answer begins", ge=0, le=INT32_MAX),
        ]
        | None
    ) = None
    template_vars: TemplateVars = field(default_factory=dict)
    prompt_tokens: (
        Annotated[
            list[TokenId],
            described("in place of `prompt`: the tokens to continue as they are", min_length=1, max_length=10_000_000),
        ]
        | None
    ) = None
    prompt_logprobs: (
        Annotated[int, described("also give each prompt token's log-probability and this many likeliest", ge=0, le=20)]
        | None
    ) = None
    echo: Annotated[bool, described("the text begins with the prompt; for `raw` and `prompt_tokens`")] = False
    memory: (
        Annotated[bool, described("put what is remembered of the matter before the prompt; null: as the mode says")]
        | None
    ) = None
    vote: Annotated[Vote, described("how one of `n` answers is chosen; the result is that one")] | None = None

    @property
    def has_images(self) -> bool:
        return bool(self.images) or any(message.images for message in self.messages or ())


class ApplyTemplateParams(Target, kw_only=True, forbid_unknown_fields=True):
    """As `generate` has them."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)]
    tools: Tools = field(default_factory=list)
    template_vars: TemplateVars = field(default_factory=dict)


class AppliedTemplate(Struct):
    """The text that a model is shown for a conversation."""

    model: str
    prompt: str
    tokens: Annotated[int, described("its length in tokens")]


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
    temperature: Temperature | None = 0.0
    confidence: Annotated[
        bool,
        described(
            "also give each token's log-probability, as `logprobs: 0` does but with drafts; a stream tells those of "
            "the first line before its end, in a `token` of kind `confidence`"
        ),
    ] = False


class EmbedParams(Target, kw_only=True, forbid_unknown_fields=True):
    input: Annotated[str | Annotated[list[str], Meta(max_length=MAX_TEXTS)], described("a text, or several")]
    dimensions: (
        Annotated[
            int,
            described("only so many numbers of each vector, the first ones, at length 1 again", ge=1, le=1 << 20),
        ]
        | None
    ) = None


class RerankParams(Target, kw_only=True, forbid_unknown_fields=True):
    query: str
    documents: Annotated[list[str], described("the texts to put in order", min_length=1, max_length=1024)]
    top_n: Annotated[int, described("how many to give back; absent: all", ge=1, le=INT32_MAX)] | None = None


class TokenizeParams(Target, kw_only=True, forbid_unknown_fields=True):
    text: str
    special: Annotated[bool, described("texts of control tokens, such as <|im_end|>, become these tokens")] = False
    ends: Annotated[bool, described("with what the model has at a text's begin and end, such as BOS")] = False
    pieces: Annotated[bool, described("also give the text of each token")] = False


class DetokenizeParams(Target, kw_only=True, forbid_unknown_fields=True):
    tokens: Annotated[list[TokenId], Meta(max_length=1_000_000)]


class Usage(Struct):
    """Counts of tokens. `prompt_tokens` is the whole prompt, `cached_tokens` the part that was not evaluated again,
    `reasoning_tokens` the part of `completion_tokens` that was thought."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int | UnsetType = UNSET


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
    tool_calls: list[ToolCall] | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    stop: str | UnsetType = UNSET
    index: Annotated[int | UnsetType, described("under `vote`, where not all may be there: which of the n")] = UNSET
    key: Annotated[str | UnsetType, described("under `vote`; absent: it has none, and no vote")] = UNSET


class Generated(Struct):
    """The answer to `generate` and `infill`; `text` is choice 0's, `choices` is there when n > 1. Under `vote` it is
    the chosen one's, and `choices` those that were complete."""

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
    unanswered_calls: (
        Annotated[int, described("calls of the turn before that have no result: the model was told so")] | UnsetType
    ) = UNSET
    sources: Annotated[list[Source], described("what `memory` put before the prompt")] | UnsetType = UNSET
    because: Annotated[Literal["route"], described("`[route]` named the model")] | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    reasoning: Annotated[str, described("what the model thought; `text` is without it")] | UnsetType = UNSET
    stop: Annotated[str, described("which of `stop` has ended the answer; absent: none")] | UnsetType = UNSET
    prompt_logprobs: (
        Annotated[
            list[TokenLogprob | None], described("of each prompt token; null for the first, which nothing predicts")
        ]
        | UnsetType
    ) = UNSET
    host: Annotated[str, described("the machine that answered; absent: this one")] | UnsetType = UNSET
    vote: Annotated[Voted, described("how it was chosen among `n`")] | UnsetType = UNSET


class Embedded(Struct):
    model: str
    embeddings: list[list[float]]
    usage: Usage


class Ranked(Struct):
    """A document, by its place in the request, and how well it answers the query: the higher the better, on a scale of
    the model's own."""

    index: int
    score: float


class Reranked(Struct):
    """The best first; of equal ones the earlier."""

    model: str
    results: list[Ranked]
    usage: Usage


class Tokenized(Struct):
    model: str
    tokens: list[int]
    pieces: Annotated[
        list[str | list[int]] | UnsetType, described("each token's text; bytes where these are no whole characters")
    ] = UNSET


class Detokenized(Struct):
    model: str
    text: str
