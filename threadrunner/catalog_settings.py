"""Models by short names: a row of the catalog, and those that people add, as `[catalog."NAME"]` in config.toml."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from threadrunner.config import Config, ConfigError

PURPOSES = ("chat", "code", "tools", "thinking", "embed")
"""What a model may be good at."""


class CatalogRow(NamedTuple):
    """One model. daemon/models/catalog.toml says what each member means; 0 and no text are not known."""

    repo: str
    file: str
    bytes: int
    parameters: float = 0.0
    context: int = 0
    licence: str = ""
    does: tuple[str, ...] = ("chat",)
    rank: int = 0
    about: str = ""
    active: float = 0.0
    layers: int = 0
    kv: int = 0
    vocabulary: int = 0


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(:[A-Za-z0-9._+-]+)?")
REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_TAKEN = ("hf", "ollama", "lmstudio", "remote")
_REQUIRED = ("repo", "file", "bytes")

_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "repo": ("a repository of the hub, owner/name", lambda value: bool(REPO.fullmatch(value)) and ".." not in value),
    "file": ("the name of a .gguf file in it", lambda value: value.endswith(".gguf") and "\0" not in value),
    "bytes": ("the file's size, a whole number above 0", lambda value: type(value) is int and 0 < value < 1 << 50),
    "parameters": ("thousand millions, a number", lambda value: _is_number(value)),
    "active": ("thousand millions, a number", lambda value: _is_number(value)),
    "context": ("tokens, a whole number", lambda value: type(value) is int and 0 <= value < 1 << 31),
    "layers": ("a whole number", lambda value: type(value) is int and 0 <= value < 10_000),
    "kv": ("bytes of cache for each token, a whole number", lambda value: type(value) is int and 0 <= value < 1 << 30),
    "vocabulary": ("tokens, a whole number", lambda value: type(value) is int and 0 <= value < 1 << 24),
    "rank": ("a whole number", lambda value: type(value) is int and abs(value) < 1 << 31),
    "licence": ("a text", lambda value: isinstance(value, str)),
    "about": ("a text", lambda value: isinstance(value, str)),
    "does": (f"a list of {', '.join(PURPOSES)}", lambda value: bool(value) and all(one in PURPOSES for one in value)),
}


def row(name: str, table: Any) -> CatalogRow:
    """Of the table with that name. Raises ConfigError."""
    where = f'[catalog."{name}"]'
    if not isinstance(table, dict):
        raise ConfigError(f'{where} must be a table, with lines such as repo = "owner/name-GGUF"')
    if not _NAME.fullmatch(name) or name.partition(":")[0] in _TAKEN or name == Config._field_defaults["model"]:
        raise ConfigError(f"{where}: choose another name, such as mine or mine:4b; this one means something else")
    for key, value in table.items():
        if key not in _KINDS:
            raise ConfigError(f"{where}: a row of the catalog has no {key!r}; it may have {', '.join(_KINDS)}")
        if not _is(key, value):
            raise ConfigError(f"{where}: {key} must be {_KINDS[key][0]}")
    if missing := [key for key in _REQUIRED if key not in table]:
        raise ConfigError(f"{where}: {missing[0]} is missing, {_KINDS[missing[0]][0]}")
    return CatalogRow(**{**table, "does": tuple(table.get("does", ("chat",)))})


def rows(tables: Mapping[str, Any]) -> dict[str, CatalogRow]:
    """Those that can be used, by name."""
    found = {}
    for name, table in tables.items():
        try:
            found[name] = row(name, table)
        except ConfigError:
            continue  # `faults` and `row` say why, where it is asked for
    return found


def faults(options: Config) -> Iterator[str]:
    """What is wrong with each table."""
    for name, table in options.catalog.items():
        try:
            row(name, table)
        except ConfigError as error:
            yield str(error)


def _is(key: str, value: Any) -> bool:
    try:
        return _KINDS[key][1](value)
    except (TypeError, AttributeError):  # of another type altogether
        return False


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e6
