"""Every option, written once: name, type, default and what it is for.

Sources, the later wins: the default, config.toml, the environment (THREADRUNNER_ and the name in capitals).
docs/configuration.md holds the same table, kept in step by a test.
"""

from __future__ import annotations

import os
import tomllib
import typing
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from threadrunner import paths


class ConfigError(Exception):
    """An option that cannot be used; the text names it, where it stands and what it may be."""


class Config(NamedTuple):
    """The daemon's options. Sizes are bytes, times seconds; 0 means `decide for me` where a unit allows it."""

    backend: Annotated[str, "what generates: `llama`, `dummy` or an installed plugin's name"] = "llama"
    model: Annotated[str, "the model of requests that name none"] = "smollm2:135m"
    model_path: Annotated[str, "a GGUF file to use instead of `model`"] = ""
    keep_alive: Annotated[float, "how long a model stays loaded after its last request; -1: for good"] = 300.0
    context: Annotated[int, "most tokens a conversation may have; 0: by the model and the free memory"] = 0
    threads: Annotated[int, "computing threads; 0: the physical cores that the daemon may use"] = 0
    memory_limit: Annotated[int, "most bytes for one loaded model, cache included; 0: what is free"] = 0
    memory_total: Annotated[int, "most bytes for all loaded models together; 0: what is free"] = 0
    max_queued: Annotated[int, "requests that may wait for one model; one more gets the error Overloaded"] = 64
    cache_bytes: Annotated[int, "most bytes of saved KV state on disk, for each model; 0: keep none"] = 1 << 30
    offline: Annotated[bool, "never fetch a model"] = False
    aliases: Annotated[
        dict[str, str], 'names of your own for models, in a table `[aliases]`: `small = "smollm2:135m"`'
    ] = {}  # noqa: RUF012
    idle_exit: Annotated[float, "the daemon ends after this long with no client and no model; 0: never"] = 0.0
    drain: Annotated[float, "how long running requests may go on after a stop or SIGTERM"] = 10.0
    log: Annotated[str, "least level, and per module: `warning,threadrunner.daemon=debug`"] = "warning"
    log_prompts: Annotated[bool, "also write prompts to the log (level debug)"] = False
    log_days: Annotated[int, "daily log files that are kept"] = 7


LOG_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def load(environ: Mapping[str, str] = os.environ, file: str | None = None) -> Config:
    """The options in force. Raises ConfigError; a missing file is no error, an unknown key is."""
    path = paths.config_file() if file is None else file
    values: dict[str, Any] = {}
    for key, value in _read(path).items():
        if key == "modes":  # tables, which daemon/modes.py knows
            continue
        if key not in Config._fields:
            raise ConfigError(f"{path}: no option is named {key!r}; docs/configuration.md lists them")
        values[key] = _typed(key, value, path)
    for name in Config._fields:
        variable = f"THREADRUNNER_{name.upper()}"
        if text := environ.get(variable, ""):
            values[name] = _parsed(name, text, variable)
    config = Config(**values)
    log_levels(config.log)
    return config


def mode_tables(file: str | None = None) -> dict[str, Any]:
    """The `[modes.NAME]` tables as they stand in config.toml. Raises ConfigError."""
    path = paths.config_file() if file is None else file
    tables = _read(path).get("modes", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{path}: modes are tables: [modes.NAME]")
    return tables


def log_levels(spec: str) -> dict[str, int]:
    """`warning,threadrunner.daemon=debug` as logger to level; the bare one is the package's. Raises ConfigError."""
    levels = {"threadrunner": LOG_LEVELS["warning"]}
    for part in filter(None, (part.strip() for part in spec.split(","))):
        name, _, level = part.rpartition("=")
        if level.lower() not in LOG_LEVELS:
            raise ConfigError(f"log: {level!r} is no level; use one of {', '.join(LOG_LEVELS)}")
        levels[name.strip() or "threadrunner"] = LOG_LEVELS[level.lower()]
    return levels


def describe() -> list[tuple[str, str, Any, str]]:
    """Rows of (name, type's name, default, what it is for), in order."""
    hints = typing.get_type_hints(Config, include_extras=True)
    return [
        (name, typing.get_args(hints[name])[0].__name__, Config._field_defaults[name], typing.get_args(hints[name])[1])
        for name in Config._fields
    ]


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _typed(name: str, value: Any, where: str) -> Any:
    want = type(Config._field_defaults[name])
    if want is float and type(value) is int:
        value = float(value)
    if type(value) is not want:
        raise ConfigError(f"{where}: {name} must be of type {want.__name__}, not {value!r}")
    return _ranged(name, value, where)


def _parsed(name: str, text: str, where: str) -> Any:
    want = type(Config._field_defaults[name])
    try:
        value: Any
        if want is dict:
            value = dict(pair.strip().split("=", 1) for pair in text.split(",") if pair.strip())
        else:
            value = text.lower() in ("1", "true", "yes", "on") if want is bool else want(text)
    except ValueError:
        raise ConfigError(f"{where} must be of type {want.__name__}, not {text!r}") from None
    return _ranged(name, value, where)


def _ranged(name: str, value: Any, where: str) -> Any:
    if isinstance(value, dict) and not all(isinstance(target, str) and target for target in value.values()):
        raise ConfigError(f'{where}: {name} must be lines such as small = "smollm2:135m", not {value!r}')
    least = -1 if name == "keep_alive" else 0
    if isinstance(value, (int, float)) and not least <= value < 2**63:
        raise ConfigError(f"{where}: {name} must be {least} or more, not {value}")
    return value
