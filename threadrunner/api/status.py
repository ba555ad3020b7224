"""Params and results of status, subscribe and shutdown, and the notifications that the daemon sends."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from threadrunner.api.chat import CallPart
from threadrunner.api.fields import described


class NoParams(Struct, forbid_unknown_fields=True):
    pass


class SubscribeParams(Struct, forbid_unknown_fields=True):
    events: Annotated[list[str], described("names such as `model.loaded`, or `*`", max_length=64)]


class Subscribed(Struct):
    events: list[str]


class ModelStatus(Struct, kw_only=True):
    """One loaded (or loading, or failed) model. `context` is the maximum number of tokens of a conversation."""

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
    expires_s: Annotated[float, described("seconds until an idle model is unloaded; absent: not by time")] | None = None
    error: str | None = None
    facts: Annotated[dict[str, Any], described("what the backend reports, for example why its cache has this size")] = (
        field(default_factory=dict)
    )


class Work(Struct, kw_only=True):
    """What a model has done since the daemon started."""

    model: str
    requests: Annotated[int, described("answers that were completed")] = 0
    prompt_tokens: int = 0
    cached_tokens: Annotated[int, described("of the prompts' tokens, those that were not evaluated again")] = 0
    completion_tokens: int = 0
    tokens_per_second: Annotated[float, described("of the last answer")] = 0.0


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
    errors: Annotated[dict[str, int], described("requests that ended in an error, by its kind")] = field(
        default_factory=dict
    )


class Stopping(Struct):
    """`shutdown` was heard; the connection closes when the daemon has gone."""

    pid: int


class TokenNotice(Struct):
    """A piece of the answer: whole characters only."""

    request: int | str
    index: int
    text: str
    kind: Annotated[
        Literal["reasoning", "call", "confidence"] | UnsetType,
        described("absent: a part of the answer's text; `confidence`: the tokens so far, JSON of [[text, logprob], …]"),
    ] = UNSET
    call: Annotated[CallPart | UnsetType, described("of kind `call`: `text` is a part of its arguments")] = UNSET


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
