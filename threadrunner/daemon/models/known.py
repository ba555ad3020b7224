"""Models by short names, from catalog.toml beside this file. Read when a name is looked for that nothing else has."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import NamedTuple


class CatalogRow(NamedTuple):
    """A row of catalog.toml, which says what each member means. Of `layers` and `kv`, 0 is not known."""

    repo: str
    file: str
    bytes: int
    parameters: float
    context: int
    licence: str
    does: tuple[str, ...]
    rank: int
    about: str
    active: float = 0.0
    layers: int = 0
    kv: int = 0


@functools.cache
def known() -> dict[str, CatalogRow]:
    """All of them, by name."""
    tables = tomllib.loads((Path(__file__).parent / "catalog.toml").read_text("utf-8"))
    return {name: CatalogRow(**{**table, "does": tuple(table["does"])}) for name, table in tables.items()}


@functools.cache
def _names() -> dict[tuple[str, str], str]:
    return {(model.repo, model.file): name for name, model in known().items()}


def name_of(repo: str, file: str) -> str | None:
    """The short name of a file on the hub."""
    return _names().get((repo, file))
