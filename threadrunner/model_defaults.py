"""What a model's table `[models."NAME"]` says of answers: a request's params where request, mode and conversation say
nothing, and the chat template. Pure; the options for loading it are model_settings.py's.

They are of the params' own types, so that a table may have what a request may. The template is the worker's, and counts
from the model's next load; all else from the next request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from threadrunner import model_settings
from threadrunner.api.chat import ReasoningMode, TemplateVars
from threadrunner.api.fields import INT32_MAX, MaxTokens, Stop
from threadrunner.api.generation import ApplyTemplateParams, GenerateParams, InfillParams
from threadrunner.api.models import Origin
from threadrunner.api.sampling import CHOICE, TokenChoice
from threadrunner.config import Config, ConfigError

MAX_TEMPLATE = 1 << 20
"""Characters, as the engine takes."""

P = TypeVar("P", GenerateParams, InfillParams)


class ModelDefaults(TokenChoice, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """None: the table says nothing of it."""

    template: Annotated[str, Meta(min_length=1, max_length=MAX_TEMPLATE)] | None = None
    """A file's path, or the text itself: see `is_text`."""
    system: str | None = None
    max_tokens: MaxTokens | None = None
    stop: Stop | None = None
    reasoning: ReasoningMode | None = None
    reasoning_budget: Annotated[int, Meta(ge=0, le=INT32_MAX)] | None = None
    template_vars: TemplateVars | None = None


NONE = ModelDefaults()
_ANSWERS = ("system", "max_tokens", *CHOICE, "stop", "reasoning", "reasoning_budget", "template_vars")
"""What `generate` takes. A completion of code is another matter than a talk with the same model: it takes the choice of
tokens only, or an answer's length, its end and its persona would spoil it."""


def defaults(options: Config, names: Collection[str], *, elsewhere: bool = False) -> ModelDefaults:
    """Those of the model that is known by these names, its own first; `elsewhere`: it is on another machine. Raises
    ConfigError."""
    table, where = model_settings.table(options, names)
    own = {name: value for name, value in table.items() if name in model_settings.ANSWERS}
    if not own:
        return NONE
    if elsewhere and "template" in own:
        raise ConfigError(f"{where}: a model on another machine has its server's template; remove `template`")
    try:
        return msgspec.convert(own, ModelDefaults)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise ConfigError(f"{where}: {place.rstrip('`') or 'its options'}: {problem}") from None


def faults(options: Config) -> Iterator[str]:
    """What is wrong with each table, as far as answers go."""
    for name in options.models:
        try:
            defaults(options, [name], elsewhere=name.startswith("remote:"))
        except ConfigError as error:
            yield str(error)


def applied(own: ModelDefaults, params: P, given: Collection[str]) -> P:
    """The params with the model's defaults where nothing was `given`: by request, mode or conversation."""
    if own is NONE:
        return params
    names = CHOICE if isinstance(params, InfillParams) else _ANSWERS
    sets = {name: value for name in names if name not in given and (value := getattr(own, name)) is not None}
    if isinstance(params, GenerateParams) and _has_its_own(params):
        sets.pop("system", None)
    return msgspec.structs.replace(params, **sets)


def shown(own: ModelDefaults, params: ApplyTemplateParams) -> ApplyTemplateParams:
    """The params with what `generate` would tell the template; their messages are shown as they are."""
    if own.template_vars is None or params.template_vars:
        return params
    return msgspec.structs.replace(params, template_vars=own.template_vars)


def _has_its_own(params: GenerateParams) -> bool:
    """Whether a system prompt would be out of place, or a second one."""
    as_it_is = params.raw or params.prompt_tokens is not None
    return as_it_is or any(message.role in ("system", "developer") for message in params.messages or ())


def is_text(template: str) -> bool:
    """Whether it is a Jinja template itself, and not a file's path."""
    return "{{" in template or "{%" in template or "\n" in template


# Where each value comes from, for `models show`.

USUAL: Mapping[str, int | float] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "typical_p": 1.0,
    "top_n_sigma": 0.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "penalty_window": 64,
}
"""As the engine has them, which no other process loads; a test compares."""

FILE_NAMES: Mapping[str, str] = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_last_n": "penalty_window",
    "penalty_repeat": "repeat_penalty",
}
"""llama.cpp's names under `general.sampling.` -> ours, of those that are one number in both."""

_GROUPS = {
    "xtc": {"xtc_probability": "probability", "xtc_threshold": "threshold"},
    "mirostat": {"mirostat": "version", "mirostat_tau": "tau", "mirostat_eta": "eta"},
}


class Sourced(NamedTuple):
    """A value, and where it comes from."""

    value: Any
    origin: Origin


def in_force(own: ModelDefaults, file: Mapping[str, Any], *, usual: bool = True) -> dict[str, Sourced]:
    """What a request gets that says nothing; `file` is what the model's file recommends, in llama.cpp's names, and
    without `usual` the rest is not known."""
    said = _of_file(file)
    found = {name: Sourced(value, "default") for name, value in USUAL.items() if usual}
    found |= {name: Sourced(value, "file") for name, value in said.items()}
    given = {name: value for name in ("template", *_ANSWERS) if (value := getattr(own, name)) is not None}
    return found | {name: Sourced(msgspec.to_builtins(value), "config.toml") for name, value in given.items()}


def _of_file(file: Mapping[str, Any]) -> dict[str, Any]:
    """By our names; what is out of a param's range is not believed, as the engine does not."""
    named = {ours: file[theirs] for theirs, ours in FILE_NAMES.items() if theirs in file}
    for ours, members in _GROUPS.items():
        group = {member: file[theirs] for theirs, member in members.items() if theirs in file}
        if (main := next(iter(members.values()))) in group and group[main]:
            named[ours] = group
    return {name: value for name, value in named.items() if _believed(name, value)}


def _believed(name: str, value: Any) -> bool:
    try:
        msgspec.convert({name: value}, ModelDefaults)
    except msgspec.ValidationError:
        return False
    return True
