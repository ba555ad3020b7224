"""A cursor as the filters' rules see it: the text around it, and what is known of it. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from threadrunner.lsp.suggest.text import CursorText, indent_width
from threadrunner.syntax.balance import Surroundings, surroundings
from threadrunner.syntax.languages import Language, language_of

TAB_WIDTH = 4
"""Columns of a tab, where tabs and spaces are compared."""


@dataclass(frozen=True)
class Cursor(CursorText):
    """Where the text would go."""

    language: str = ""
    """As LSP names it."""
    unfinished: bool = False
    """The model was stopped by a limit, not by itself."""

    @functools.cached_property
    def facts(self) -> Language:
        return language_of(self.language)

    @functools.cached_property
    def around(self) -> Surroundings:
        """Which brackets may be closed here."""
        return surroundings(self.prefix, self.suffix, self.facts)

    @functools.cached_property
    def below(self) -> list[str]:
        """The lines below the cursor's line that are not blank."""
        return [line.rstrip() for line in self.suffix.split("\n")[1:] if line.strip()]

    @functools.cached_property
    def above(self) -> str:
        """The nearest line above the cursor's line that is not blank; empty for none."""
        lines = self.prefix.split("\n")[:-1]
        return next((line.rstrip() for line in reversed(lines) if line.strip()), "")


Rule = Callable[[str, Cursor], str]
"""Takes what a model has said and returns it whole, cut, or empty: nothing to show."""


def indent(line: str) -> int:
    return indent_width(line, TAB_WIDTH)
