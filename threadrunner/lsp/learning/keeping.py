"""Remembers what was taken, once it was kept: still there when the file is saved, or a minute later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from threadrunner.lsp.learning.memory import Memento, Memory, cut_out, still_there
from threadrunner.lsp.suggest.context import Snippet
from threadrunner.lsp.suggest.documents import Document
from threadrunner.lsp.suggest.ignore import Ignore

KEPT_AFTER = 60.0
"""Seconds."""
WAITING = 100
"""Taken suggestions of which it is not known yet whether they are kept, at most."""


@dataclass(frozen=True)
class _Taken:
    uri: str
    line: int
    text: str
    at: float


class Keeping:
    """By workspace folder, a memory; files outside all folders have none."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.ignore = Ignore([])
        self.memories: dict[str, Memory] = {}
        self._clock = clock
        self._waiting: list[_Taken] = []

    def set_ignore(self, ignore: Ignore) -> None:
        """The workspace's folders and rules; each folder has a memory from then on."""
        self.ignore = ignore
        for root in ignore.roots:
            self.memories.setdefault(root, Memory())

    def replace(self, memories: dict[str, Memory]) -> None:
        """What the files have, and what was remembered since they were asked."""
        for root, memory in memories.items():
            for memento in self.memories[root].fresh:
                memory.add(memento)
            self.memories[root] = memory

    def find(self, document: Document, wanted: Sequence[str], seen: str, room: int) -> list[Snippet]:
        root = self.ignore.root_of(document.path) if document.path else None
        if root is None or root not in self.memories:
            return []
        found = self.memories[root].find(wanted, document.language, seen, room)
        return [snippet for snippet in found if self.ignore.shows(f"{root.rstrip('/')}/{snippet.path}")]

    def taken(self, document: Document, line: int, text: str) -> None:
        if document.path and self.ignore.root_of(document.path):
            self._waiting.append(_Taken(document.uri, line, text, self._clock()))
            del self._waiting[:-WAITING]

    def saved(self, document: Document) -> None:
        """All that was taken in this file counts now, if it is there."""
        self._settle(document, [one for one in self._waiting if one.uri == document.uri])

    def aged(self, document: Document) -> None:
        """What was taken in this file a minute ago counts, if it is there."""
        due = self._clock() - KEPT_AFTER
        self._settle(document, [one for one in self._waiting if one.uri == document.uri and one.at <= due])

    def _settle(self, document: Document, due: list[_Taken]) -> None:
        if not due:
            return
        self._waiting = [one for one in self._waiting if one not in due]
        root = self.ignore.root_of(document.path)
        if root is None or not self.ignore.shows(document.path):
            return
        for one in due:
            line = still_there(document.lines, one.line, one.text)
            if line is None:
                continue
            text = cut_out(document.lines, line, one.text.count("\n") + 1)
            if text:
                self.memories[root].add(Memento(self.ignore.shown_path(document.path), document.language, text))
