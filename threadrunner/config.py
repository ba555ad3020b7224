"""Every option, written once: name, type, default, range and what it is for.

Sources, the later wins: the default, config.toml, the environment (THREADRUNNER_ and the name in capitals).
docs/configuration.md has the same table, which a test compares with this one. Not msgspec, as in api/: of the
environment's texts it would refuse some ("yes", "1_000"), and `threadrunner doctor` would wait 25 ms for its import.
"""

from __future__ import annotations

import functools
import os
import typing
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from threadrunner import paths


class ConfigError(Exception):
    """An option that cannot be used; the text has its name, where it is set and what it may be."""


class Bounds(NamedTuple):
    """What an option that is a number may be, where that is not 0 or more."""

    minimum: int = 0
    maximum: int = 2**63 - 1
    above_zero: int = 0
    """The minimum of a value that is not 0, where 0 has a meaning of its own."""


class Words(NamedTuple):
    """What an option that is a word may be."""

    words: tuple[str, ...]
    number: bool = False
    """Or a whole number, 0 or more, which the file may have without quotes."""

    def allow(self, value: str) -> bool:
        return value in self.words or (self.number and value.isascii() and value.isdecimal() and len(value) <= 6)

    def __str__(self) -> str:
        listed = [f'"{word}"' for word in self.words] + ["a number"] * self.number
        return f"{', '.join(listed[:-1])} or {listed[-1]}"


_COUNT = Bounds(0, 2**31 - 1)
_TOKENS = Bounds(0, 2**31 - 1, above_zero=16)  # an int32 of llama.cpp's; fewer hold no prompt
_THREADS = Bounds(0, 512)  # llama.cpp's own maximum; it ends the process where there are more
_LAYERS = Words(("auto", "all"), number=True)
_TYPES = Words(("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"))


class Config(NamedTuple):
    """The daemon's options. Sizes are bytes, times seconds; 0 means `decide for me` where a unit allows it."""

    backend: Annotated[str, "what generates: `llama`, `dummy` or an installed plugin's name"] = "llama"
    model: Annotated[str, "the model of requests that name none"] = "smollm2:135m"
    model_path: Annotated[str, "a GGUF file to use instead of `model`"] = ""
    keep_alive: Annotated[float, "how long a model stays loaded after its last request; -1: for good", Bounds(-1)] = (
        300.0
    )
    context: Annotated[int, "maximum tokens of a conversation; 0: by the model and the free memory", _TOKENS] = 0
    threads: Annotated[int, "computing threads; 0: the physical cores that the daemon may use", _THREADS] = 0
    threads_batch: Annotated[int, "computing threads for prompts; 0: as many as `threads`", _THREADS] = 0
    gpu_layers: Annotated[str, "layers that GPUs compute: `auto` (those that fit), `all` or a number", _LAYERS] = "auto"
    devices: Annotated[list[str], "GPUs to use, by the names that `threadrunner doctor` shows; none named: all"] = []  # noqa: RUF012
    main_gpu: Annotated[int, "the one of these, from 0, that takes a whole model; -1: it is split", Bounds(-1, 63)] = -1
    tensor_split: Annotated[list[float], "proportions of the split, one for each GPU; none: by what fits"] = []  # noqa: RUF012
    cpu_moe: Annotated[str, "layers whose experts stay on the CPU: `auto`, `all` or a number", _LAYERS] = "auto"
    flash_attention: Annotated[str, "`auto`, `on` or `off`", Words(("auto", "on", "off"))] = "auto"
    cache_type_k: Annotated[str, "type of the KV cache's keys: `f16`, `q8_0`, `q4_0`, …", _TYPES] = "f16"
    cache_type_v: Annotated[str, "type of its values; a quantized one needs flash attention", _TYPES] = "f16"
    mlock: Annotated[bool, "lock models in memory, so that they are never swapped out"] = False
    numa: Annotated[
        str,
        "`distribute`, `isolate` or `numactl`, on machines with several memories",
        Words(("off", "distribute", "isolate", "numactl")),
    ] = "off"
    drafts: Annotated[
        str,
        "evaluate likely tokens ahead: `auto`, `off`, or `always`, also where a text should be reproducible",
        Words(("auto", "off", "always")),
    ] = "auto"
    mmproj: Annotated[str, "the encoder of pictures, a file; empty: the one beside the model; `off`: none"] = ""
    adapters: Annotated[
        list[str], "LoRA files to load with a model: `style.gguf`, or with a scale, `style.gguf=0.5`"
    ] = []  # noqa: RUF012
    draft_model: Annotated[str, "a small model of the same vocabulary, whose guesses are used as drafts"] = ""
    memory_limit: Annotated[int, "maximum bytes for one loaded model, cache included; 0: what is free"] = 0
    memory_total: Annotated[int, "maximum bytes for all loaded models together; 0: what is free"] = 0
    max_queued: Annotated[int, "requests that may wait for one model; one more gets the error Overloaded", _COUNT] = 64
    cache_ram: Annotated[
        int, "maximum bytes of memory for finished requests' KV state, for each model; -1: by what is free", Bounds(-1)
    ] = -1
    cache_bytes: Annotated[int, "maximum bytes of saved KV state on disk, for each model; 0: keep none"] = 1 << 30
    offline: Annotated[bool, "never fetch a model, and ask no other machine"] = False
    aliases: Annotated[
        dict[str, str], 'names of your own for models, in a table `[aliases]`: `small = "smollm2:135m"`'
    ] = {}  # noqa: RUF012
    learn: Annotated[bool, "learn which suggestions are taken, on this machine only (docs/learning.md)"] = True
    idle_exit: Annotated[float, "the daemon ends after this long with no client and no model; 0: never"] = 0.0
    drain: Annotated[float, "how long running requests may continue after a stop or SIGTERM"] = 10.0
    log: Annotated[str, "minimum level, and per module: `warning,threadrunner.daemon=debug`"] = "warning"
    log_prompts: Annotated[bool, "also write prompts to the log (level debug)"] = False
    log_days: Annotated[int, "daily log files that are kept", Bounds(0, 36500)] = 7
    route: dict[str, Any] = {}  # noqa: RUF012 - the `[route]` table as it is: see routes.py
    models: dict[str, Any] = {}  # noqa: RUF012 - the `[models.NAME]` tables as they are: see model_settings.py
    catalog: dict[str, Any] = {}  # noqa: RUF012 - the `[catalog.NAME]` tables as they are: see catalog_settings.py
    remotes: dict[str, Any] = {}  # noqa: RUF012 - the `[remotes.NAME]` tables as they are: see remote_settings.py


TABLES = ("catalog", "models", "remotes", "route")
"""Tables that their own modules check when one is used."""


LOG_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


FILES = ("model", "model_path", "mmproj", "draft_model")
"""Options that may be a file's path: `~` is expanded, and its bytes need not be UTF-8."""


_TYPED: dict[type, str] = {dict: "dict, such as small=smollm2:135m", list: "list, such as 3,1"}
"""Types whose name does not say what is written into a variable."""


class Option(NamedTuple):
    """What `Config` declares of one option, and how its value is read from each source."""

    name: str
    kind: type
    default: Any
    description: str
    bounds: Bounds
    """Of a number, or of each in a list."""
    words: Words | None = None
    item: type = str
    """What a list has."""

    def from_toml(self, value: Any, where: str) -> Any:
        """The value, of the option's type and in its range. Raises ConfigError with the place, `where`."""
        if self.kind is float:
            value = _float(value)
        elif self.words and self.words.number and type(value) is int:
            value = str(value) if 0 <= value < 10**6 else repr(value)[:12]
        elif self.kind is list and type(value) is list and self.item is float:
            value = [_float(item) for item in value]
        if type(value) is not self.kind:
            kind = "bool (true or false, without quotes)" if self.kind is bool else self.kind.__name__
            raise ConfigError(f"{where}: {self.name} must be of type {kind}, not {_short(value)}")
        return self._checked(value, where)

    def from_text(self, text: str, where: str) -> Any:
        """The same for an environment variable, whose name is `where`."""
        try:
            if self.name not in FILES:
                text.encode("utf-8")
            value = self._parsed(text)
        except UnicodeEncodeError:
            raise ConfigError(f"{where} is not UTF-8 text: {_short(text)}") from None
        except ValueError as error:
            if self.kind is bool:
                raise ConfigError(f"{where}: {error}") from None
            kind = _TYPED.get(self.kind, self.kind.__name__)
            raise ConfigError(f"{where} must be of type {kind}, not {_short(text)}") from None
        return self._checked(value, where)

    def _parsed(self, text: str) -> Any:
        if self.kind is bool:
            return paths.is_true(text)
        if self.kind is dict:
            return dict(pair.strip().split("=", 1) for pair in text.split(",") if pair.strip())
        if self.kind is list:
            return [self.item(part.strip()) for part in text.split(",") if part.strip()]
        return self.kind(text)

    def _checked(self, value: Any, where: str) -> Any:
        if isinstance(value, dict) and not all(isinstance(target, str) and target for target in value.values()):
            raise ConfigError(f'{where}: {self.name} must be lines such as small = "smollm2:135m", not {_short(value)}')
        if self.words and not self.words.allow(value):
            raise ConfigError(f"{where}: {self.name} must be {self.words}, not {_short(value)}")
        if isinstance(value, list):
            self._check_items(value, where)
        if isinstance(value, (int, float)) and (expected := self._expected(value)):
            raise ConfigError(f"{where}: {self.name} must be {expected}, not {_short(value)}")
        if self.name == "log":
            log_levels(value, where)
        if isinstance(value, str) and "\0" in value:
            raise ConfigError(f"{where}: {self.name} has a NUL character in it; remove that")
        return os.path.expanduser(value) if self.name in FILES else value

    def _check_items(self, value: list[Any], where: str) -> None:
        example = '["CUDA0", "CUDA1"]' if self.item is str else "[3, 1]"
        if not all(type(item) is self.item and item != "" for item in value) or len(value) > 64:
            raise ConfigError(f"{where}: {self.name} must be a list such as {example}, not {_short(value)}")
        if self.item is float and (not all(0 <= item < 1e6 for item in value)):
            raise ConfigError(f"{where}: {self.name} must be numbers from 0 to a million, not {_short(value)}")

    def _expected(self, value: float) -> str:
        """What the number should be; "" where it is that."""
        low, high, above_zero = self.bounds
        if not value >= low:  # NaN is not
            return f"{low} or more"
        if value > high:
            return "below 2**63" if high == 2**63 - 1 else f"at most {high}"
        return f"0, or {above_zero} or more" if 0 < value < above_zero else ""


def _float(value: Any) -> Any:
    """A whole number as a float, where the file has one."""
    # Out of range beyond that, where float() may raise OverflowError.
    return float(max(-(2**63), min(value, 2**63))) if type(value) is int else value


def _short(value: Any) -> str:
    """As an error shows it: on one line, and not all of a megabyte."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more than 4300 digits; tables that are nested too deep
        return "what is there"
    return text if len(text) <= 60 else f"{text[:60]}…"


@functools.cache
def options() -> dict[str, Option]:
    """By name, in the order in which `Config` declares them."""
    hints = typing.get_type_hints(Config, include_extras=True)
    return {name: _option(name, hint) for name, hint in hints.items() if name not in TABLES}


def _option(name: str, hint: Any) -> Option:
    default = Config._field_defaults[name]
    kind, description, *limits = typing.get_args(hint)
    bounds = next((limit for limit in limits if isinstance(limit, Bounds)), Bounds())
    words = next((limit for limit in limits if isinstance(limit, Words)), None)
    item = typing.get_args(kind)[0] if typing.get_origin(kind) is list else str
    return Option(name, type(default), default, description, bounds, words, item)


def load(environ: Mapping[str, str] = os.environ, file: str | None = None) -> Config:
    """The options in force. Raises ConfigError; a missing file is not an error, an unknown key is."""
    config, fault = readable(environ, file)
    if fault:
        raise ConfigError(fault)
    return config


def readable(environ: Mapping[str, str] = os.environ, file: str | None = None) -> tuple[Config, str]:
    """The options in force, as far as the file can be read, and what is wrong with it first; empty: nothing.

    Raises ConfigError for the environment: the process that starts us has made it, and can be told.
    """
    values, fault = _from_file(paths.config_file() if file is None else file)
    for name, option in options().items():
        variable = f"THREADRUNNER_{name.upper()}"
        if text := environ.get(variable, ""):
            values[name] = option.from_text(text, variable)
    return Config(**values), fault


def _from_file(path: str) -> tuple[dict[str, Any], str]:
    """The file's options that can be used, and what is wrong with it first."""
    values: dict[str, Any] = {}
    try:
        tables = _read(path)
    except ConfigError as error:
        return values, str(error)
    faults = []
    for key, value in tables.items():
        if key == "modes":  # tables, which the daemon's modes.py knows
            continue
        if key in TABLES and isinstance(value, dict):
            values[key] = value
            continue
        if key not in options():
            faults.append(f"{path}: no option is named {_short(key)}; docs/configuration.md lists them")
            continue
        try:
            values[key] = options()[key].from_toml(value, path)
        except ConfigError as error:
            faults.append(str(error))
    return values, next(iter(faults), "")


def mode_tables(file: str | None = None) -> dict[str, Any]:
    """The `[modes.NAME]` tables of config.toml, unchecked; `~` in a model's path is expanded. Raises ConfigError."""
    path = paths.config_file() if file is None else file
    tables = _read(path).get("modes", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{path}: modes are tables: [modes.NAME]")
    for table in tables.values():
        if isinstance(table, dict) and isinstance(model := table.get("model"), str):
            table["model"] = os.path.expanduser(model)
    return tables


def log_levels(spec: str, where: str = "THREADRUNNER_LOG") -> dict[str, int]:
    """`warning,threadrunner.daemon=debug` as logger to level; the bare one is the package's. Raises ConfigError."""
    levels = {"threadrunner": LOG_LEVELS["warning"]}
    for part in filter(None, (part.strip() for part in spec.split(","))):
        name, _, level = part.rpartition("=")
        if level.lower() not in LOG_LEVELS:
            raise ConfigError(f"{where}: log: {_short(level)} is not a level; use one of {', '.join(LOG_LEVELS)}")
        levels[name.strip() or "threadrunner"] = LOG_LEVELS[level.lower()]
    return levels


def describe() -> list[tuple[str, str, Any, str]]:
    """Rows of (name, type's name, default, what it is for), in order."""
    return [(option.name, option.kind.__name__, option.default, option.description) for option in options().values()]


def _read(path: str) -> dict[str, Any]:
    """The file's tables; empty where there is no file. Raises ConfigError."""
    import tomllib  # only now: a worker and completions use this module without a file

    try:
        with open(path, "rb") as file:
            data = file.read()
        codec = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"  # as Windows writes them
        return tomllib.loads(data.decode(codec))
    except FileNotFoundError:
        return {}
    except RecursionError:
        raise ConfigError(f"{path}: not TOML: nested too deep") from None
    except ValueError as error:  # not TOML, not UTF-8, a number that is too long
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; change that or set THREADRUNNER_HOME") from None
