"""Models by short names, from catalog.toml beside this file. Read when a name is looked for that nothing else has."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from threadrunner.catalog_settings import CatalogRow, rows

Tables = Mapping[str, Any]
"""`[catalog."NAME"]` of config.toml, as they are."""


@functools.cache
def known() -> dict[str, CatalogRow]:
    """All of catalog.toml, by name."""
    tables = tomllib.loads((Path(__file__).parent / "catalog.toml").read_text("utf-8"))
    return {name: CatalogRow(**{**table, "does": tuple(table["does"])}) for name, table in tables.items()}


class ShortNames(NamedTuple):
    """Those of catalog.toml and a person's own, which come before them."""

    rows: dict[str, CatalogRow]
    by_file: dict[tuple[str, str], str]
    """The name of a file in a repository of the hub."""

    def row_of(self, repo: str, file: str) -> CatalogRow | None:
        name = self.by_file.get((repo, file))
        return self.rows[name] if name else None


def short_names(own: Tables) -> ShortNames:
    """With those of config.toml that can be used."""
    every = {**known(), **rows(own)}
    return ShortNames(every, {(row.repo, row.file): name for name, row in every.items()})
