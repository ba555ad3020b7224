"""Modes: named presets for generate and infill, ours and those of config.toml's `[modes.NAME]` tables.

The file is looked at with each request that names a mode, so that an edit counts at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from threadrunner import config, paths
from threadrunner.api.chat import ReasoningMode, TemplateVars
from threadrunner.api.conversations import ModeInfo
from threadrunner.api.errors import InvalidParams
from threadrunner.api.fields import INT32_MAX, Adapters, MaxTokens, ModelName, Seed, Stop
from threadrunner.api.generation import GenerateParams, InfillParams
from threadrunner.api.sampling import CHOICE, TokenChoice
from threadrunner.daemon.methods.choice import NOTHING, Preference

log = logging.getLogger("threadrunner.daemon.modes")

INPUT = "{input}"


class Mode(TokenChoice, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a mode may set. Ranges are those of the params that it sets."""

    description: str = ""
    model: ModelName | None = None
    backend: Annotated[str, Meta(max_length=64)] | None = None
    system: str | None = None
    template: str | None = None
    """`{input}` in it becomes the prompt."""
    memory: bool | None = None
    max_tokens: MaxTokens | None = None
    reasoning: ReasoningMode | None = None
    reasoning_budget: Annotated[int, Meta(ge=0, le=INT32_MAX)] | None = None
    template_vars: TemplateVars | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    lora: Adapters | None = None


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

_SAMPLING = ("max_tokens", *CHOICE, "seed", "stop", "lora")
_THINKING = ("reasoning", "reasoning_budget", "template_vars")
P = TypeVar("P", GenerateParams, InfillParams)


def load(file: str | None = None) -> dict[str, Mode | str]:
    """All modes by name, or what is wrong with one; those of the file replace ours. Raises ConfigError for a file that
    cannot be read."""
    return {**BUILT_IN, **{name: _mode(name, table) for name, table in config.mode_tables(file).items()}}


def _mode(name: str, table: object) -> Mode | str:
    try:
        mode = msgspec.convert(table, Mode)
    except msgspec.ValidationError as error:
        return f"[modes.{name}]: {error}; docs/sessions.md lists what a mode may set"
    if mode.template is not None and INPUT not in mode.template:
        return f"[modes.{name}]: its template has no {INPUT}, where the prompt would go"
    return mode


class Applied(NamedTuple, Generic[P]):
    """A request's params with what its mode sets, which of them count as given, and the model that the mode names."""

    params: P
    given: frozenset[str]
    preference: Preference = NOTHING
    modes: Mapping[str, Mode | str] = MappingProxyType({})
    """Those in force, where the request says something of modes."""


def apply(mode: Mode, params: P, given: frozenset[str]) -> Applied[P]:
    """A mode sets what the request does not give; its template takes the prompt in any case."""
    names = _SAMPLING if isinstance(params, InfillParams) else (*_SAMPLING, *_THINKING, "system", "memory")
    sets = {name: value for name in names if name not in given and (value := getattr(mode, name)) is not None}
    if isinstance(params, GenerateParams):
        if params.raw:
            sets.pop("system", None)
        if mode.template is not None and params.prompt is not None:
            sets["prompt"] = mode.template.replace(INPUT, params.prompt)
    return Applied(msgspec.structs.replace(params, **sets), given | sets.keys(), Preference(mode.model, mode.backend))


class Modes:
    """The modes in force. config.toml is read again when its facts on the disk have changed."""

    def __init__(self) -> None:
        self._modes: dict[str, Mode | str] = {}
        self._fingerprint: tuple[int, ...] = (-1,)

    def applied(self, params: P, given: frozenset[str]) -> Applied[P]:
        """The request under its mode, if it names one; an empty name is none. Raises InvalidParams for a mode that does
        not exist or cannot be used; what is wrong with one spoils no other."""
        if params.mode is None:
            return Applied(params, given)
        if not params.mode:
            with contextlib.suppress(InvalidParams):
                return Applied(params, given, modes=self._current())
            return Applied(params, given)
        modes = self._current()
        if params.mode not in modes:
            raise InvalidParams(
                f"there is no mode {params.mode!r}; there are {', '.join(sorted(modes))}. A table "
                f"[modes.{params.mode}] in config.toml makes one"
            )
        mode = modes[params.mode]
        if isinstance(mode, str):
            raise InvalidParams(mode)
        return apply(mode, params, given)._replace(modes=modes)

    def listing(self) -> list[ModeInfo]:
        """Raises InvalidParams where config.toml cannot be read, and could not before."""
        return [_info(name, mode) for name, mode in sorted(self._current().items())]

    def _current(self) -> dict[str, Mode | str]:
        """Those of before where the file cannot be read any more, as it is with options; not the built-in ones alone,
        whose names the file may have given to others."""
        if (fingerprint := _fingerprint(paths.config_file())) != self._fingerprint:
            try:
                self._modes = load()
            except config.ConfigError as error:
                if not self._modes:
                    raise InvalidParams(str(error)) from None
                log.error("%s; the modes stay as they were", error)
            self._fingerprint = fingerprint
        return self._modes


def _fingerprint(path: str) -> tuple[int, ...]:
    """Changes whenever the file may have; () where there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return ()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _info(name: str, mode: Mode | str) -> ModeInfo:
    if isinstance(mode, str):
        return ModeInfo(name=name, problem=mode)
    return ModeInfo(
        name=name,
        description=mode.description,
        model=mode.model,
        system=mode.system,
        template=mode.template,
        memory=bool(mode.memory),
        built_in=mode is BUILT_IN.get(name),
        params={
            name: msgspec.to_builtins(value)
            for name in (*_SAMPLING, *_THINKING)
            if (value := getattr(mode, name)) is not None
        },
    )
