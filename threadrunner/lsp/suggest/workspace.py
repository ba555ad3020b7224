"""What the editor has opened and set. The session changes it, the suggester reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

from threadrunner.lsp.suggest.documents import Document, Documents
from threadrunner.lsp.suggest.ignore import Ignore
from threadrunner.lsp.suggest.notebooks import Notebooks, preamble
from threadrunner.lsp.suggest.settings import Settings


@dataclass
class Workspace:
    """The open documents, the settings, and the rules that keep files from the model."""

    documents: Documents = field(default_factory=Documents)
    notebooks: Notebooks = field(default_factory=Notebooks)
    settings: Settings = field(default_factory=Settings)
    ignore: Ignore = field(default_factory=lambda: Ignore([]))

    def completes(self, document: Document) -> bool:
        """Whether there may be suggestions in this document."""
        return self.settings.allows(document.language, document.name) and self.ignore.completes(document.name)

    def before(self, document: Document, room: int) -> str:
        """What stands before the document's own text: a cell's notebook up to it, within `room` characters."""
        return preamble(document, self.notebooks, self.documents, room) if document.uri in self.notebooks else ""
