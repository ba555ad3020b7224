"""Options that a model may have of its own, in a table `[models."NAME"]` of config.toml.

What a table leaves out is as the file says for all models. It counts from the model's next load. What it says of
answers, not of loading, is model_defaults.py's: these names are only known here.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from threadrunner import config
from threadrunner.config import Config, ConfigError

_QUANTIZED = ("q", "iq")

ANSWERS = (
    "template", "system", "max_tokens", "temperature", "dynamic_temperature", "top_k", "top_p", "min_p", "typical_p",
    "top_n_sigma", "xtc", "mirostat", "repeat_penalty", "presence_penalty", "frequency_penalty", "penalty_window",
    "dry", "stop", "reasoning", "reasoning_budget", "template_vars",
)  # fmt: skip
"""What a table may say of answers: the fields of `model_defaults.ModelDefaults`, whose import costs what that of all
params does."""


class ModelSettings(NamedTuple):
    """What holds for one model. Each name is an option of `Config`, which says what it is for and what it may be."""

    context: int
    threads: int
    threads_batch: int
    keep_alive: float
    gpu_layers: str
    devices: list[str]
    main_gpu: int
    tensor_split: list[float]
    cpu_moe: str
    flash_attention: str
    cache_type_k: str
    cache_type_v: str
    mlock: bool
    numa: str
    drafts: str
    draft_model: str
    adapters: list[str]
    mmproj: str


def settings(options: Config, names: typing.Collection[str]) -> ModelSettings:
    """Those of the model that is known by these names, its own first. Raises ConfigError."""
    said, where = table(options, names)
    own = {key: config.options()[key].from_toml(value, where) for key, value in said.items() if key not in ANSWERS}
    chosen = ModelSettings(**{name: own.get(name, getattr(options, name)) for name in ModelSettings._fields})
    _check_together(chosen, where)
    return chosen


def table(options: Config, names: typing.Collection[str]) -> tuple[dict[str, Any], str]:
    """The first table of these names, empty for none, and how an error names it. Raises ConfigError for what is no
    table, and for a name in it that is no option."""
    name = next((name for name in names if name in options.models), None)
    if name is None:
        return {}, "config.toml"
    found, where = options.models[name], f'[models."{name}"]'
    if not isinstance(found, dict):
        raise ConfigError(f"{where} must be a table, with lines such as gpu_layers = 20")
    known = (*ModelSettings._fields, *ANSWERS)
    if (wrong := next((key for key in found if key not in known), None)) is not None:
        raise ConfigError(f"{where}: a model has no option {wrong!r}; it may have {', '.join(known)}")
    return found, where


def changed(chosen: ModelSettings) -> dict[str, Any]:
    """Those that are not as they are by default."""
    return {name: value for name, value in chosen._asdict().items() if value != Config._field_defaults[name]}


def faults(options: Config) -> Iterator[str]:
    """What is wrong with each table, and with the options for all models together."""
    for name in ["", *options.models]:
        try:
            settings(options, [name])
        except ConfigError as error:
            yield str(error)


def _check_together(chosen: ModelSettings, where: str) -> None:
    if chosen.flash_attention == "off" and chosen.cache_type_v.startswith(_QUANTIZED):
        raise ConfigError(
            f'{where}: cache_type_v = "{chosen.cache_type_v}" needs flash attention; set flash_attention = "auto", or '
            'cache_type_v = "f16"'
        )
    if chosen.tensor_split and not any(chosen.tensor_split):
        raise ConfigError(f"{where}: tensor_split gives no GPU a part; one number must be above 0")
    if chosen.tensor_split and chosen.main_gpu >= 0:
        raise ConfigError(
            f"{where}: main_gpu gives one GPU the whole model, and tensor_split divides it; set one of them"
        )
