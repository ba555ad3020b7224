"""Modes: named presets for generate and infill, ours and those of config.toml's `[modes.NAME]` tables.

Read again with each request that names one, so that an edit counts at once; a file of a few kilobytes takes less
than a millisecond.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from threadrunner import config
from threadrunner.api.conversations import ModeInfo
from threadrunner.api.errors import InvalidParams
from threadrunner.api.fields import MaxTokens, MinP, ModelName, RepeatPenalty, Seed, Stop, Temperature, TopK, TopP
from threadrunner.api.generation import GenerateParams, InfillParams

INPUT = "{input}"


class Mode(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """What a mode may set. Ranges are those of the params that it sets."""

    description: str = ""
    model: ModelName | None = None
    backend: Annotated[str, Meta(max_length=64)] | None = None
    system: str | None = None
    template: str | None = None
    """`{input}` in it becomes the prompt."""
    memory: bool | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    min_p: MinP | None = None
    repeat_penalty: RepeatPenalty | None = None
    seed: Seed | None = None
    stop: Stop | None = None


BUILT_IN = {
    "chat": Mode(
        description="a conversation: answers to the point",
        system="You are a helpful assistant. Answer to the point, in the language of the question.",
        temperature=0.7,
    ),
    "code": Mode(
        description="programs: exact, hardly varied; for editors too",
        system="You are an experienced programmer. Answer with working code and as few words beside it as it needs.",
        temperature=0.2,
        top_p=0.9,
    ),
    "writing": Mode(
        description="prose: varied, repeats itself less",
        system="You are a careful writer and editor. Keep to the tone and the language of what you are given.",
        temperature=0.9,
        min_p=0.08,
        repeat_penalty=1.1,
    ),
    "commit": Mode(
        description="a commit message: git diff --staged | threadrunner --mode commit",
        system="You write commit messages: one line of at most 72 characters that says what the change does and why.",
        template=f"Write the commit message for this change. Answer with the message alone.\n\n{INPUT}",
        temperature=0.2,
        max_tokens=80,
    ),
}

_SAMPLING = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "stop")
P = TypeVar("P", GenerateParams, InfillParams)


def load(file: str | None = None) -> dict[str, Mode]:
    """All modes by name; those of the file stand before ours. Raises ConfigError."""
    modes = dict(BUILT_IN)
    for name, table in config.mode_tables(file).items():
        try:
            mode = msgspec.convert(table, Mode)
        except msgspec.ValidationError as error:
            raise config.ConfigError(f"[modes.{name}]: {error}; docs/sessions.md lists what a mode may set") from None
        if mode.template is not None and INPUT not in mode.template:
            raise config.ConfigError(f"[modes.{name}]: its template has no {INPUT}, where the prompt would go")
        modes[name] = mode
    return modes


def applied(params: P, given: frozenset[str]) -> tuple[P, frozenset[str]]:
    """The params with what their mode says where the request says nothing, and what counts as said then. Raises
    InvalidParams for a mode that is not there."""
    if params.mode is None:
        return params, given
    mode = _named(params.mode)
    sets = {name: value for name in _SAMPLING if (value := getattr(mode, name)) is not None and name not in given}
    if mode.model is not None and "model" not in given:
        sets["model"] = mode.model
    if mode.backend is not None and "backend" not in given:
        sets["backend"] = mode.backend
    if isinstance(params, GenerateParams):
        if mode.system is not None and "system" not in given and not params.raw:
            sets["system"] = mode.system
        if mode.memory is not None and "memory" not in given:
            sets["memory"] = mode.memory
        given |= sets.keys()
        if mode.template is not None and params.prompt is not None:
            sets["prompt"] = mode.template.replace(INPUT, params.prompt)
    return msgspec.structs.replace(params, **sets), given | sets.keys()


def with_defaults(params: P) -> P:
    """The params with the model that holds where nothing else names one."""
    model, backend = params.model or params.default_model, params.backend or params.default_backend
    replaced: P = msgspec.structs.replace(
        params, model=model, backend=backend, mode=None, default_model=None, default_backend=None
    )
    return replaced


def listing() -> list[ModeInfo]:
    return [
        ModeInfo(
            name=name,
            description=mode.description,
            model=mode.model,
            system=mode.system,
            template=mode.template,
            memory=bool(mode.memory),
            built_in=mode is BUILT_IN.get(name),
            params=_set(mode),
        )
        for name, mode in sorted(_loaded().items())
    ]


def _set(mode: Mode) -> dict[str, Any]:
    return {name: value for name in _SAMPLING if (value := getattr(mode, name)) is not None}


def _named(name: str) -> Mode:
    modes = _loaded()
    if name not in modes:
        raise InvalidParams(
            f"there is no mode {name!r}; there are {', '.join(sorted(modes))}. A table [modes.{name}] in config.toml "
            "makes one"
        )
    return modes[name]


def _loaded() -> dict[str, Mode]:
    try:
        return load()
    except config.ConfigError as error:
        raise InvalidParams(str(error)) from None
