"""What of other files is shown to the model beside the file that is edited, within a budget.

In this order: definitions of the names near the cursor, places that were edited or completed before, outlines of the
open files of the same language. What the window shows already is never shown twice.

The choice is made again only where the window moves: in a prompt the other files come first, so after each change to
them everything behind them is evaluated again.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from threadrunner.lsp.suggest.documents import Document
from threadrunner.lsp.suggest.ignore import Ignore
from threadrunner.lsp.suggest.text import indent_width
from threadrunner.lsp.suggest.window import TextWindow
from threadrunner.lsp.suggest.workspace import Workspace

CHARS_PER_TOKEN = 3
"""Code has 3 to 4; the smaller number keeps the budget."""
REACH = 8
"""Lines above and below an edited line that are shown with it."""
DEFINITION_LINES = 12
"""Lines that are shown of a definition, at most."""
OUTLINE_LINES = 40
"""Lines that are shown of a file's outline, at most."""
NEAR_LINES = 12
"""Lines before the cursor whose names are looked up."""
LONGEST_LINE = 400
"""Characters; a longer line is generated or minified, and is shown to no model beside another file."""
JUMPED = 64
"""Lines; a cursor this far from where the choice was made is elsewhere."""

_NAME = re.compile(r"[^\W\d]\w{2,}")
DEFINES = re.compile(
    r"\s*(?:export\s+|default\s+|public\s+|private\s+|protected\s+|static\s+|abstract\s+|async\s+|pub(?:\([^)]*\))?\s+|"
    r"unsafe\s+|inline\s+|final\s+)*"
    r"(?:def|class|function\*?|fn|func|fun|struct|interface|type|trait|enum|impl|module|const|let|var|namespace)\s+"
    r"(?:\([^)]*\)\s*)?(?:self\.|local\s+)?([^\W\d]\w*)"
)


@dataclass(frozen=True)
class Snippet:
    """A part of another file, as the model is shown it."""

    path: str
    text: str


Remembered = Callable[[Document, "TextWindow", Sequence[Snippet], int], Sequence[Snippet]]
"""Other snippets for a place: no more characters than given, and nothing that the given snippets show."""


class Trail:
    """The last `size` places that the person worked at, in any file. Places close to one another are one."""

    def __init__(self, size: int = 32) -> None:
        self._size = size
        self._places: OrderedDict[tuple[str, int], None] = OrderedDict()

    def visit(self, uri: str, line: int) -> None:
        key = (uri, line // (2 * REACH))
        self._places.pop(key, None)
        self._places[key] = None
        if len(self._places) > self._size:
            self._places.popitem(last=False)

    def forget(self, uri: str) -> None:
        for key in [key for key in self._places if key[0] == uri]:
            del self._places[key]

    def newest_first(self) -> Iterator[tuple[str, int]]:
        for uri, part in reversed(self._places):
            yield uri, part * 2 * REACH + REACH


class Chooser:
    """Chooses for one document at a time, and keeps its choice while the window keeps its first line."""

    def __init__(self, remembered: Remembered | None = None) -> None:
        """`remembered` has snippets for what the others leave of the budget; they come before these."""
        self._remembered = remembered
        self._made_for: tuple[str, object] | None = None
        self._line = 0
        self._chosen: list[Snippet] = []

    def choose(
        self, document: Document, window: TextWindow, line: int, workspace: Workspace, trail: Trail
    ) -> list[Snippet]:
        """Snippets for a cursor at this line of the document, within the tokens that the settings allow."""
        made_for = (document.uri, window.first)
        if made_for != self._made_for or abs(line - self._line) > JUMPED:
            self._made_for, self._line = made_for, line
            budget, others = workspace.settings.context_tokens, list(workspace.documents)
            self._chosen = choose(document, window, others, trail, workspace.ignore, budget)
            room = budget * CHARS_PER_TOKEN - sum(len(snippet.text) for snippet in self._chosen)
            if room > 0 and self._remembered is not None:
                self._chosen = [*self._remembered(document, window, self._chosen, room), *self._chosen]
        return self._chosen

    def forget(self) -> None:
        self._made_for = None


def choose(
    document: Document, window: TextWindow, others: list[Document], trail: Trail, ignore: Ignore, budget: int
) -> list[Snippet]:
    """The most useful snippets that fit `budget` tokens; the most useful is last, next to the code."""
    if budget <= 0:
        return []
    others = [
        other for other in others
        if other.uri != document.uri and other.path and ignore.shows(other.path)
    ]  # fmt: skip
    room = budget * CHARS_PER_TOKEN
    seen = set(_telling(window.prefix + window.suffix))
    chosen: list[Snippet] = []
    for other, lines in _candidates(document, window, others, trail):
        text = _fresh([line for line in lines if len(line) <= LONGEST_LINE], seen)
        if not text or len(text) > room:
            continue
        room -= len(text)
        seen.update(_telling(text))
        chosen.append(Snippet(ignore.shown_path(other.path), text))
    return chosen[::-1]


def _candidates(
    document: Document, window: TextWindow, others: list[Document], trail: Trail
) -> Iterator[tuple[Document, list[str]]]:
    kin = [other for other in others if other.language == document.language]
    yield from _definitions(names_near(window), kin)
    by_uri = {other.uri: other for other in others}
    for uri, line in trail.newest_first():
        if (other := by_uri.get(uri)) is not None:
            yield other, other.lines[max(0, line - REACH) : line + REACH]
    for other in reversed(kin):
        yield other, [line for line in other.lines if _defined(line)][:OUTLINE_LINES]


def names_near(window: TextWindow) -> list[str]:
    """Names in the lines before the cursor and behind it on its line, the nearest first, each once."""
    lines = window.prefix.split("\n")[-NEAR_LINES:]
    found = _NAME.findall("\n".join(lines))[::-1] + _NAME.findall(window.tail)
    return list(dict.fromkeys(found))


def _definitions(names: list[str], others: list[Document]) -> Iterator[tuple[Document, list[str]]]:
    where: dict[str, tuple[Document, int]] = {}
    for other in others:
        for number, line in enumerate(other.lines):
            if (name := _defined(line)) and name not in where:
                where[name] = (other, number)
    for name in names:
        if name in where:
            other, number = where[name]
            yield other, _block(other.lines, number)


def _defined(line: str) -> str:
    """The name that this line defines; empty for none."""
    match = DEFINES.match(line) if len(line) <= LONGEST_LINE else None
    return match[1] if match else ""


def _block(lines: list[str], start: int) -> list[str]:
    """The line and what is indented below it, up to a limit."""
    indent = indent_width(lines[start])
    end, limit = start + 1, min(len(lines), start + DEFINITION_LINES)
    while end < limit and (not lines[end].strip() or indent_width(lines[end]) > indent):
        end += 1
    return lines[start:end]


def _telling(text: str) -> list[str]:
    """The lines that tell one text from another: a brace or `else:` is everywhere."""
    return [line for line in map(str.strip, text.splitlines()) if len(line) > 8]


def _fresh(lines: list[str], seen: set[str]) -> str:
    """The lines as a text; empty if more than half of what they tell has been shown."""
    text = "".join(lines).replace("\r\n", "\n").strip("\n")
    telling = _telling(text)
    known = sum(line in seen for line in telling)
    return f"{text}\n" if telling and known * 2 <= len(telling) else ""
