"""Notebooks: which cells are in which order, so that a cell is completed with the cells before it in view. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from threadrunner.lsp.suggest.documents import Document, Documents
from threadrunner.syntax.languages import OTHER, language_of

STEP = 1024
"""Characters by which the room for earlier cells shrinks while a cell grows: else its beginning would move with each
key, and all behind it would be evaluated again."""
GAP = "\n\n"


class Notebooks:
    """The open notebooks: their cells' URIs in order. The cells' texts are documents like others."""

    def __init__(self) -> None:
        self._cells: dict[str, list[str]] = {}
        self._of: dict[str, str] = {}

    def open(self, uri: str, cells: Sequence[str]) -> None:
        self.close(uri)
        self._cells[uri] = []
        self.splice(uri, 0, 0, cells)

    def close(self, uri: str) -> None:
        for cell in self._cells.pop(uri, ()):
            self._of.pop(cell, None)

    def splice(self, uri: str, start: int, count: int, cells: Sequence[str]) -> None:
        """Put these cells in the place of `count` cells from `start` on."""
        ours = self._cells.get(uri)
        if ours is None:
            return
        for gone in ours[start : start + count]:
            self._of.pop(gone, None)
        ours[start : start + count] = cells
        self._of.update(dict.fromkeys(cells, uri))  # after the removal: a moved cell is in both

    def __contains__(self, cell: str) -> bool:
        return cell in self._of

    def before(self, cell: str) -> list[str]:
        """The URIs of the cells before this one; empty for what is no cell."""
        cells = self._cells.get(self._of.get(cell, ""), [])
        return cells[: cells.index(cell)] if cell in cells else []


def preamble(cell: Document, notebooks: Notebooks, documents: Documents, room: int) -> str:
    """The text of the cells before this one as the model is shown it, whole cells within `room` characters, the nearest
    kept. Cells in another language are comments of this one's, as far as we know how it writes them."""
    parts: list[str] = []
    for uri in reversed(notebooks.before(cell.uri)):
        other = documents.get(uri)
        text = _shown(other, cell.language) if other is not None else ""
        if not text:
            continue
        room -= len(text) + len(GAP)
        if room < 0:
            break
        parts.append(text + GAP)
    return "".join(reversed(parts))


def _shown(other: Document, language: str) -> str:
    text = other.whole().replace("\r\n", "\n").strip("\n")
    if other.language == language or not text.strip():
        return text.rstrip()
    signs = () if (facts := language_of(language)) is OTHER else facts.line_comments
    sign = f"{signs[0]} " if signs else ""
    return "\n".join(f"{sign}{line}".rstrip() for line in text.split("\n")) if sign else ""


def room(prefix_chars: int, typed: int) -> int:
    """Characters for earlier cells before a cell of which `typed` characters are in the window."""
    return max(0, prefix_chars - -(-typed // STEP) * STEP)
