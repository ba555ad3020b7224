"""How tokens are chosen and which model is asked: the params that generate and infill share.

Where a request, its mode and its conversation give no value, the model's own recommendation holds (`general.sampling.*`
in its file), and where it has none the usual one that the field's description names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from threadrunner.api.fields import (
    INT32_MAX,
    Adapters,
    Candidates,
    KeepAlive,
    LogitBias,
    Logprobs,
    MaxTokens,
    MinP,
    ModelName,
    ModeName,
    Offline,
    Penalty,
    PenaltyWindow,
    Priority,
    RepeatPenalty,
    Seed,
    Stop,
    Temperature,
    Timeout,
    TopK,
    TopNSigma,
    TopP,
    TypicalP,
    described,
)

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(ge=0.0, le=100.0)]


class Target(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which model answers, and how long it stays."""

    model: ModelName | None = None
    backend: Annotated[str, described("llama, dummy or an installed plugin's name", max_length=64)] | None = None
    keep_alive: KeepAlive | None = None
    timeout: Timeout | None = None
    priority: Priority = "normal"
    offline: Offline = False


class Dry(Struct, forbid_unknown_fields=True):
    """Penalizes a token that would continue a repetition, by multiplier * base ** (length - allowed_length)."""

    multiplier: Positive = 0.8
    base: Annotated[float, Meta(ge=1.0, le=100.0)] = 1.75
    allowed_length: Annotated[int, Meta(ge=0, le=INT32_MAX)] = 2
    window: Annotated[int, described("tokens looked at; -1: the context", ge=-1, le=INT32_MAX)] = -1
    breakers: Annotated[
        list[Annotated[str, described("at most 40 bytes", min_length=1, max_length=40)]],
        described("texts that end a repetition", max_length=16),
    ] = field(default_factory=lambda: ["\n", ":", '"', "*"])


class Xtc(Struct, forbid_unknown_fields=True):
    """Excludes top choices: with this probability, all tokens above the threshold but the least likely of them."""

    probability: Share = 0.5
    threshold: Share = 0.1


class Mirostat(Struct, forbid_unknown_fields=True):
    """Holds the text's surprise at `tau`; the cuts (top_k, top_p, min_p, …) do not apply then."""

    version: Literal[1, 2] = 2
    tau: Positive = 5.0
    eta: Share = 0.1


class DynamicTemperature(Struct, forbid_unknown_fields=True):
    """Moves the temperature within `range` of it: lower where the model is sure."""

    range: Positive = 0.5
    exponent: Positive = 1.0


class TokenChoice(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The params that say how a token is chosen among others: a mode and a model's table may set them, which derive
    from this, and a conversation remembers them. None: nothing is said of it."""

    temperature: Temperature | None = None
    dynamic_temperature: DynamicTemperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    min_p: MinP | None = None
    typical_p: TypicalP | None = None
    top_n_sigma: TopNSigma | None = None
    xtc: Xtc | None = None
    mirostat: Mirostat | None = None
    repeat_penalty: RepeatPenalty | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    penalty_window: PenaltyWindow | None = None
    dry: Dry | None = None


CHOICE = TokenChoice.__struct_fields__
"""Their names."""


class SamplingParams(Target, kw_only=True, forbid_unknown_fields=True):
    """How tokens are chosen and when to end. Those of TokenChoice stand here again, since a struct has one base, and
    `protocol/` has them in this order; a test compares."""

    stream: Annotated[bool, described("send a `token` notification for each piece")] = True
    max_tokens: MaxTokens | None = None
    min_tokens: Annotated[int, described("the model cannot end before this many tokens", ge=0, le=INT32_MAX)] = 0
    ignore_eos: Annotated[bool, described("the model cannot end; max_tokens, stop and the context do")] = False
    temperature: Temperature | None = None
    dynamic_temperature: DynamicTemperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    min_p: MinP | None = None
    typical_p: TypicalP | None = None
    top_n_sigma: TopNSigma | None = None
    xtc: Xtc | None = None
    mirostat: Mirostat | None = None
    repeat_penalty: RepeatPenalty | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    penalty_window: PenaltyWindow | None = None
    dry: Dry | None = None
    logit_bias: LogitBias = field(default_factory=dict)
    seed: Seed | None = None
    stop: Stop = field(default_factory=list)
    grammar: Annotated[str, described("GBNF, its start rule is `root`", max_length=1 << 20)] | None = None
    json_schema: (
        Annotated[dict[str, Any] | bool, described("the answer is JSON that fits this schema; true: any JSON")] | None
    ) = None
    json_schema_check: Annotated[
        Literal["while", "after"],
        described("`after`: what cannot be held while generating is checked on the finished answer, with new tries"),
    ] = "while"
    logprobs: Logprobs | None = None
    lora: Adapters | None = None
    n: Candidates = 1
    mode: ModeName | None = None
    default_model: Annotated[ModelName, described("where neither request, mode nor session names one")] | None = None
    default_backend: Annotated[str, described("likewise", max_length=64)] | None = None
