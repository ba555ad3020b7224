"""Which model is for which task, in the table `[route]` of config.toml.

It holds where neither the request, its mode, its conversation nor the client's environment names a model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from threadrunner.config import Config, ConfigError

TASKS = ("chat", "infill", "tools", "pictures", "long", "embed", "rerank")
LONG = 16_000


class Routes(NamedTuple):
    """A model's name for each task, None where the default one does it."""

    chat: str | None = None
    infill: str | None = None
    """Completing code at a cursor."""
    tools: str | None = None
    """Where the request has tools."""
    pictures: str | None = None
    """Where it shows a picture."""
    long: str | None = None
    """Where what is said has more than `long_from` characters."""
    embed: str | None = None
    """Also for what memory looks up."""
    rerank: str | None = None
    long_from: int = LONG

    def model(self, task: str) -> str | None:
        name: str | None = getattr(self, task)
        return name


def routes(options: Config) -> Routes:
    """Raises ConfigError with the place."""
    table: Any = options.route
    if not isinstance(table, dict):
        raise ConfigError('route must be a table, [route], with lines such as infill = "qwen2.5-coder:1.5b"')
    for key, value in table.items():
        if key not in Routes._fields:
            raise ConfigError(f"[route]: there is no task {key!r}; it may have {', '.join(Routes._fields)}")
        if key == "long_from":
            if type(value) is not int or value < 0:
                raise ConfigError("[route]: long_from is a number of characters, 0 or more")
        elif not isinstance(value, str) or not value:
            raise ConfigError(f"[route]: {key} must be a model's name, in quotes")
    return Routes(**{key: os.path.expanduser(value) if key in TASKS else value for key, value in table.items()})


def faults(options: Config) -> Iterator[str]:
    """What is wrong with the table."""
    try:
        routes(options)
    except ConfigError as error:
        yield str(error)
