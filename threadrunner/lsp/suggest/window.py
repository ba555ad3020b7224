"""What the model sees of a file: the text before and behind the cursor, cut so that it changes rarely.

The first line moves in jumps. A window that slid by a line with each Enter would begin elsewhere each time, and
everything in it would be evaluated again: that is the worst case of llama-server's `/infill`, 6 s a key on two cores.

The engine cuts what it is sent in the same way, at larger limits, for clients that send whole files. Ours are smaller,
so that by default it finds nothing to cut: two cuts, each with its own jumps, would move the beginning twice as often.
"""

from __future__ import annotations

from dataclasses import dataclass

from threadrunner.lsp.suggest.documents import Document, Place
from threadrunner.lsp.suggest.text import CursorText

PREFIX_CHARS = 4_000
"""Characters before the cursor, at most."""
SUFFIX_CHARS = 1_000
"""Characters behind the cursor, at most."""
JUMP_LINES = 32
"""Lines by which the window's first line moves."""
JUMP_CHARS = 1024
"""Characters by which it moves in a line that is longer than the whole window, e.g. in minified code; there, the text
before the cursor is no longer than that."""


@dataclass(frozen=True)
class TextWindow(CursorText):
    """The part of a file around the cursor. Lines end with LF in here, whatever ends them in the file."""

    first: Place
    """Where the prefix begins in the file."""
    whole_suffix: bool
    """The suffix reaches to the end of the file."""

    @property
    def whole_prefix(self) -> bool:
        return self.first == Place(0, 0)


def around(document: Document, place: Place, prefix_chars: int, suffix_chars: int) -> TextWindow:
    """The window of a cursor, with at most this many characters before and behind it."""
    first = _first(document, place, prefix_chars)
    prefix = document.between(first, place)
    last, room = place.line, suffix_chars - len(document.tail(place))
    while last + 1 < len(document.lines) and (room := room - len(document.lines[last + 1])) >= 0:
        last += 1
    behind = document.lines[place.line][place.column :]
    suffix = behind[:suffix_chars] + "".join(document.lines[place.line + 1 : last + 1])
    return TextWindow(_lf(prefix), _lf(suffix), first, last + 1 == len(document.lines))


def _first(document: Document, place: Place, room: int) -> Place:
    room -= place.column
    if room < 0:
        column = (place.column - 1) // JUMP_CHARS * JUMP_CHARS
        return Place(place.line, column)
    line = place.line
    while line > 0 and (room := room - len(document.lines[line - 1])) >= 0:
        line -= 1
    if line == 0:
        return Place(0, 0)
    jumped = -(-line // JUMP_LINES) * JUMP_LINES
    return Place(jumped if jumped <= place.line else line, 0)


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
