"""What the suggester is asked and what it answers; what it counts; the daemon, as far as it needs it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from threadrunner.client.aio import Notice
from threadrunner.lsp.suggest.context import Snippet
from threadrunner.lsp.suggest.documents import Document, Place
from threadrunner.lsp.suggest.window import TextWindow


class DaemonClient(Protocol):
    """Sends requests to the daemon."""

    async def request(self, method: str, params: dict[str, Any], notice: Notice | None = None) -> Any:
        """The result; `notice` is called with each notification before it. Raises ApiError."""


@dataclass(frozen=True)
class Ask:
    """A request for a suggestion: at which place, and how it was asked for."""

    document: Document
    place: Place
    manual: bool = False
    """The person asked for it; otherwise a key did."""
    debounce: bool = True
    replaced: int = 0
    """Number of characters behind `place` to ignore: the chosen item of a menu replaces them."""
    selected: str = ""
    """The text of a menu's chosen item, taken as typed at `place`."""


@dataclass(frozen=True)
class Suggestion:
    """`text` goes in at the cursor; lines end with LF. The id stays the same while the person types this text."""

    id: str
    text: str


def suggestion_id(prefix: str, text: str) -> str:
    """The same for a suggestion and for the rest of it while it is typed: a checksum of its place and whole text."""
    return f"{zlib.crc32((prefix[-200:] + chr(0) + text).encode('utf-8', 'replace')):08x}"


class Judge(Protocol):
    """What a suggester asks about its suggestions; see lsp/learning."""

    @property
    def enabled(self) -> bool:
        """Whether answers should come with log-probabilities."""

    def heard(self, id: str, answer: dict[str, Any]) -> None:
        """The daemon's answer in which this suggestion is."""

    def shows(self, ask: Ask, window: TextWindow, suggestion: Suggestion) -> bool:
        """Whether it is worth showing."""

    def remembered(
        self, document: Document, window: TextWindow, chosen: Sequence[Snippet], room: int
    ) -> Sequence[Snippet]:
        """Code to show to the model beside the chosen snippets of other files, the best last, in `room` characters."""


@dataclass
class Figures:
    """Counted since the start, for `threadrunner/status`. The last two are tokens, all others requests unless
    they say what they are."""

    requests: int = 0
    from_cache: int = 0
    asked: int = 0
    answered: int = 0
    """Requests to the daemon, guesses too, that it gave an answer to."""
    joined: int = 0
    """Answered by a request that was under way already."""
    superseded: int = 0
    speculated: int = 0
    ended_early: int = 0
    kept_quiet: int = 0
    """Suggestions that were not shown, since they would hardly be taken."""
    prompt_tokens: int = 0
    evaluated_tokens: int = 0
