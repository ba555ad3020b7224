"""What was taken and kept in one workspace: snippets of its own code, to be shown to the model where they fit.

A snippet is what was taken and the lines around it, as they stand in the file when it is saved, or a minute later. No
file that is kept from the model is remembered, and what has become such a file since is not shown. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threadrunner.lsp.learning.bm25 import names_in, ranked
from threadrunner.lsp.suggest.context import LONGEST_LINE, Snippet

MOST = 200
"""Snippets of a workspace; the oldest leave."""
AROUND = 6
"""Lines above and below what was taken."""
LINES, CHARACTERS = 16, 900
"""Of one snippet, at most."""
BUDGET = 900
"""Characters of snippets that the model is shown at a place, about 300 tokens."""
SHOWN = 3
"""Snippets at a place, at most."""
LIKENESS = 0.25
"""Of the best one's score; what has less to do with the place is not shown beside it."""


@dataclass(frozen=True)
class Memento:
    """A snippet of a file; `path` is below its workspace folder."""

    path: str
    language: str
    text: str


def cut_out(lines: Sequence[str], first: int, count: int) -> str:
    """The lines from `first` on, with those around them; empty where that is not worth keeping."""
    begin = max(0, first - AROUND)
    chosen = [line.rstrip() for line in lines[begin : min(first + count + AROUND, begin + LINES)]]
    while chosen and not chosen[0]:
        del chosen[0]
    text = "\n".join(line for line in chosen if len(line) <= LONGEST_LINE).rstrip()
    return text[:CHARACTERS] if len(names_in(text)) >= 3 else ""


def still_there(lines: Sequence[str], near: int, taken: str) -> int | None:
    """The line at which what was taken begins now, the nearest to where it was; None: it was not kept."""
    wanted = [line.strip() for line in taken.split("\n") if line.strip()]
    if not wanted:
        return None
    found = [
        number
        for number, line in enumerate(lines)
        if wanted[0] in line
        and all(want in there for want, there in zip(wanted, _telling(lines, number, len(wanted)), strict=False))
    ]
    return min(found, key=lambda number: abs(number - near), default=None)


def _telling(lines: Sequence[str], begin: int, count: int) -> list[str]:
    return [line for line in lines[begin : begin + 3 * count] if line.strip()][:count]


class Memory:
    """The snippets of one workspace, the newest last."""

    def __init__(self) -> None:
        self.kept: list[Memento] = []
        self.fresh: list[Memento] = []
        """Of these, those that no file has yet."""
        self._names: dict[Memento, list[str]] = {}

    def add(self, memento: Memento) -> None:
        """Replaces those of the same file that share most of their lines with it."""
        lines = set(memento.text.split("\n"))
        self.kept = [old for old in self.kept if old.path != memento.path or not _alike(old, lines)]
        self.kept.append(memento)
        del self.kept[:-MOST]
        self.fresh.append(memento)
        del self.fresh[:-MOST]

    def find(self, wanted: Sequence[str], language: str, seen: str, room: int = BUDGET) -> list[Snippet]:
        """What fits a place where these names are near, the best one last; nothing that `seen` shows already, and no
        more characters than `room` or BUDGET."""
        kin = [memento for memento in self.kept if memento.language == language]
        shown: list[Snippet] = []
        room, best = min(room, BUDGET), 0.0
        for number, score in ranked(wanted, [self._names_of(memento) for memento in kin]):
            memento = kin[number]
            best = best or score
            if len(shown) == SHOWN or score < LIKENESS * best:
                break
            if len(memento.text) <= room and _new(memento.text, seen):
                room -= len(memento.text)
                shown.append(Snippet(memento.path, memento.text + "\n"))
                seen += memento.text
        return shown[::-1]

    def _names_of(self, memento: Memento) -> list[str]:
        if memento not in self._names:
            if len(self._names) > 2 * MOST:
                self._names.clear()
            self._names[memento] = names_in(memento.text)
        return self._names[memento]

    # ---- as JSON

    def told(self, root: str) -> dict[str, Any]:
        snippets = [{"path": each.path, "language": each.language, "text": each.text} for each in self.kept]
        return {"version": 1, "folder": root, "snippets": snippets}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Memory:
        """What a file holds. Raises ValueError."""
        memory = cls()
        found = told.get("snippets")
        if not isinstance(found, list):
            raise ValueError("it has no list of snippets")
        for each in found[-MOST:]:
            memory.add(_read(each))
        memory.fresh = []
        return memory


def _read(told: Any) -> Memento:
    """Raises ValueError."""
    values = [told.get(name) for name in ("path", "language", "text")] if isinstance(told, dict) else []
    texts = [value for value in values if isinstance(value, str) and len(value) <= 4 * CHARACTERS]
    if len(texts) != 3:
        raise ValueError("a snippet is not path, language and text")
    return Memento(*texts)


def _alike(old: Memento, lines: set[str]) -> bool:
    mine = old.text.split("\n")
    return 2 * sum(line in lines for line in mine) >= len(mine)


def _new(text: str, seen: str) -> bool:
    """Less than half of its telling lines are seen already."""
    telling = [line for line in map(str.strip, text.split("\n")) if len(line) > 8]
    return bool(telling) and 2 * sum(line in seen for line in telling) < len(telling)
