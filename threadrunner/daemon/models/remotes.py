"""Models on other machines, by name: what `remote:NAME/MODEL` means. Asks no one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from threadrunner.api.errors import InvalidParams, ModelNotFound
from threadrunner.config import Config, ConfigError
from threadrunner.remote_settings import RemoteModel, RemoteSettings, every, find, parse

Tables = Mapping[str, Any]


def named(name: str, tables: Tables) -> RemoteModel | None:
    """The model of that name; None for one that is here. Raises ModelNotFound where no table has the remote's name."""
    model = parse(name)
    if model is None:
        return None
    if model.remote not in tables:
        known = ", ".join(tables) or "none"
        raise ModelNotFound(
            f"{name}: config.toml has no table [remotes.{model.remote}]; there are: {known}. docs/remotes.md shows one",
            model=name,
        )
    return model


def settings(options: Config, remote: str) -> RemoteSettings:
    """The table in force. Raises InvalidParams where it cannot be used."""
    try:
        return find(options, remote)
    except ConfigError as error:
        raise InvalidParams(f"{error}. Mend config.toml, and ask again") from None


def names(options: Config) -> Iterator[RemoteModel]:
    """All that can be named without asking: those that tables list, and the remote alone where one lists none."""
    for table in every(options):
        if isinstance(table, RemoteSettings):
            yield from (RemoteModel(table.name, model) for model in table.models or ("",))
