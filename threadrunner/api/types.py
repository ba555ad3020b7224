"""The shapes that go over the wire, as msgspec Structs: params and results of every method.

`protocol/openrpc.json` is rendered from here, so a field's description and range stand here and nowhere else.
Unknown members of params are refused: a misspelt `max_token` must not be ignored in silence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from threadrunner.api.sessions import ModeName, SessionName, Source

Priority = Literal["interactive", "normal", "background"]
FinishReason = Literal["stop", "length", "cancelled"]


def _doc(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


MaxTokens = Annotated[int, _doc("most tokens to generate; absent: until the model stops or the context is full", ge=0)]
Temperature = Annotated[float, _doc("0 is greedy: always the likeliest token", ge=0.0, le=100.0)]
TopK = Annotated[int, _doc("sample among the k likeliest tokens; 0: all", ge=0)]
TopP = Annotated[float, _doc("sample among the likeliest tokens that together have probability p", ge=0.0, le=1.0)]
MinP = Annotated[float, _doc("drop tokens less likely than p times the likeliest", ge=0.0, le=1.0)]
RepeatPenalty = Annotated[float, _doc("divides the score of tokens seen in the last 64; 1: off", gt=0.0, le=10.0)]
Seed = Annotated[int, _doc("same seed, same text; absent: a new one each time", ge=0, le=2**32 - 1)]
Stop = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=1024)]],
    _doc("generation ends before the first of these texts", max_length=16),
]
Timeout = Annotated[float, _doc("seconds until the request ends with error Timeout", gt=0, le=86400)]
KeepAlive = Annotated[
    float, _doc("seconds the model stays loaded after its last request; 0: unload at once; -1: never unload", ge=-1)
]
Model = Annotated[str, _doc("a name from the catalog, a file in models/, or a path", min_length=1, max_length=4096)]
Offline = Annotated[bool, _doc("never fetch a missing model; an error says how to get it")]
Logprobs = Annotated[int, _doc("also give this many likeliest tokens at each position", ge=0, le=20)]
Candidates = Annotated[int, _doc("how many answers to the one prompt", ge=1, le=8)]


class Message(Struct, forbid_unknown_fields=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Target(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which model answers, and how long it stays."""

    model: Model | None = None
    backend: Annotated[str, _doc("llama, dummy or an installed plugin's name", max_length=64)] | None = None
    keep_alive: KeepAlive | None = None
    timeout: Timeout | None = None
    priority: Priority = "normal"
    offline: Offline = False


class Sampling(Target, kw_only=True, forbid_unknown_fields=True):
    """How tokens are chosen and when to end."""

    stream: Annotated[bool, _doc("send a `token` notification for each piece")] = True
    max_tokens: MaxTokens | None = None
    temperature: Temperature = 0.8
    top_k: TopK = 40
    top_p: TopP = 0.95
    min_p: MinP = 0.05
    repeat_penalty: RepeatPenalty = 1.0
    seed: Seed | None = None
    stop: Stop = field(default_factory=list)
    grammar: Annotated[str, _doc("GBNF, its start rule is `root`", max_length=1 << 20)] | None = None
    json_schema: (
        Annotated[dict[str, Any] | bool, _doc("the answer is JSON that fits this schema; true: any JSON")] | None
    ) = None
    logprobs: Logprobs | None = None
    n: Candidates = 1
    mode: ModeName | None = None
    default_model: Annotated[Model, _doc("where neither request, mode nor session names one")] | None = None
    default_backend: Annotated[str, _doc("likewise", max_length=64)] | None = None


class GenerateParams(Sampling, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of `prompt` and `messages`."""

    prompt: Annotated[str, _doc("one user turn; with `raw`, the text to continue as it stands")] | None = None
    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)] | None = None
    system: Annotated[str, _doc("goes before the conversation")] | None = None
    raw: Annotated[bool, _doc("no chat template")] = False
    context_overflow: Annotated[
        Literal["error", "truncate"],
        _doc("a prompt that does not fit is an error, or loses its oldest whole turns, never the system prompt"),
    ] = "error"
    session: (
        Annotated[SessionName, _doc("`prompt` is this conversation's next turn; `@last`, `@new`; made if need be")]
        | None
    ) = None
    replace: Annotated[int, _doc("the turn takes the place of so many last ones", ge=0, le=10_000)] = 0
    memory: (
        Annotated[bool, _doc("put what is remembered of the matter before the prompt; null: as the mode says")] | None
    ) = None


class ContextFile(Struct, forbid_unknown_fields=True):
    """Text from another file that bears on the one being edited."""

    path: str
    text: str


class InfillParams(Sampling, kw_only=True, forbid_unknown_fields=True):
    """Complete the code at the cursor, between `prefix` and `suffix`."""

    prefix: str
    suffix: str = ""
    path: Annotated[str, _doc("the file's name as the project knows it; the model is told")] | None = None
    language: Annotated[str, _doc("the editor's language id")] | None = None
    context: Annotated[list[ContextFile], Meta(max_length=64)] = field(default_factory=list)
    max_time_ms: Annotated[int, _doc("a time budget: past it, generation ends at the next line's end", ge=1)] | None = (
        None
    )
    temperature: Temperature = 0.0


class EmbedParams(Target, kw_only=True, forbid_unknown_fields=True):
    input: Annotated[str | Annotated[list[str], Meta(max_length=256)], _doc("a text, or several")]


class TokenizeParams(Target, kw_only=True, forbid_unknown_fields=True):
    text: str


class DetokenizeParams(Target, kw_only=True, forbid_unknown_fields=True):
    tokens: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=1_000_000)]


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
    truncated_turns: Annotated[int, _doc("turns left out, under truncate or in a session")] | UnsetType = UNSET
    lost_answers: Annotated[int, _doc("so many turns right before lost their answer with a daemon")] | UnsetType = UNSET
    sources: Annotated[list[Source], _doc("what `memory` put before the prompt")] | UnsetType = UNSET


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


class NoParams(Struct, forbid_unknown_fields=True):
    pass


class SubscribeParams(Struct, forbid_unknown_fields=True):
    events: Annotated[list[str], _doc("names such as `model.loaded`, or `*`", max_length=64)]


class Subscribed(Struct):
    events: list[str]


class ModelParams(Struct, kw_only=True, forbid_unknown_fields=True):
    model: Model | None = None
    backend: Annotated[str, Meta(max_length=64)] | None = None


class LoadParams(ModelParams, kw_only=True, forbid_unknown_fields=True):
    keep_alive: KeepAlive | None = None
    offline: Offline = False


class ModelStatus(Struct, kw_only=True):
    """One loaded (or loading, or failed) model. `context` is the most tokens a conversation may have."""

    name: str
    path: str
    backend: str
    state: Literal["starting", "ready", "stopping", "failed"]
    pid: int | None = None
    rss_bytes: int = 0
    context: int = 0
    active: int = 0
    queued: int = 0
    cached_tokens: int = 0
    idle_s: float = 0.0
    expires_s: Annotated[float, _doc("seconds until an idle model is unloaded; absent: not by time")] | None = None
    error: str | None = None
    facts: Annotated[dict[str, Any], _doc("what the backend says of itself, say why its cache has this size")] = field(
        default_factory=dict
    )


class Work(Struct, kw_only=True):
    """What a model has done since the daemon started."""

    model: str
    requests: Annotated[int, _doc("answers that were completed")] = 0
    prompt_tokens: int = 0
    cached_tokens: Annotated[int, _doc("of the prompts' tokens, those that were not evaluated again")] = 0
    completion_tokens: int = 0
    tokens_per_second: Annotated[float, _doc("of the last answer")] = 0.0


class Status(Struct, kw_only=True):
    version: str
    pid: int
    uptime_s: float
    rss_bytes: int
    backend: str
    model: str
    models: list[ModelStatus]
    clients: int
    socket: str
    log: str
    work: list[Work] = field(default_factory=list)
    errors: Annotated[dict[str, int], _doc("requests that ended in an error, by its kind")] = field(
        default_factory=dict
    )


class Stopping(Struct):
    """`shutdown` was heard; the connection closes when the daemon has gone."""

    pid: int


class CatalogModel(Struct, kw_only=True):
    """A model that can be named. What stands in its file's header is known only of one that is present."""

    name: str
    path: str | None = None
    size_bytes: Annotated[int, _doc("all its files together")] = 0
    present: bool = False
    loaded: bool = False
    default: bool = False
    description: str = ""
    quantization: str | None = None
    parameters: int | None = None
    context: Annotated[int, _doc("tokens that it was trained for")] | None = None
    fim: Annotated[bool, _doc("whether it can infill")] | None = None
    chat_template: Annotated[bool, _doc("whether it was made for conversations")] | None = None
    last_used: Annotated[float, _doc("Unix time")] | None = None
    keeper: Annotated[str, _doc("whose store the file is in, say Ollama's; empty: ours, or the user's")] = ""
    problem: Annotated[str, _doc("why it cannot be used")] | None = None


class ModelList(Struct):
    models: list[CatalogModel]


class NamedModel(Struct, forbid_unknown_fields=True):
    model: Model


class ModelShown(CatalogModel, kw_only=True):
    """One model in full. `title` is what its file calls itself."""

    title: str = ""
    architecture: str | None = None
    files: list[str] = field(default_factory=list)
    source: Annotated[str, _doc("where it is fetched from; empty: nowhere")] = ""


class Removed(Struct):
    """The files that were removed. The model is unloaded first."""

    model: str
    files: list[str]
    size_bytes: int


class Loaded(Struct):
    model: str
    path: str
    context: int
    load_ms: float


class Unloaded(Struct):
    """The names of the models that were unloaded; a busy one ends its requests first."""

    models: list[str]


class PullParams(Struct, forbid_unknown_fields=True):
    model: Annotated[
        str,
        _doc("a catalog name, hf:owner/repo[:quantization or file], or the full path of a file or folder to copy",
             min_length=1, max_length=4096),
    ]  # fmt: skip


class Pulled(Struct):
    model: str
    path: str
    size_bytes: int


class TokenNotice(Struct):
    """A piece of the answer: whole characters only."""

    request: int | str
    index: int
    text: str


class ProgressNotice(Struct):
    """How far a load, a prefill or a download has come; `total` 0 when it is not known."""

    request: int | str
    stage: Literal["load", "prefill", "download"]
    done: int
    total: int


class EventNotice(Struct):
    """What a subscriber asked to hear of: model.loading, model.loaded, model.failed, model.unloaded; model.reloading
    and model.reloaded when its file has changed; config.loaded, config.failed."""

    event: str
    model: str
    data: dict[str, Any]
