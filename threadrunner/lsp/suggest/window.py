"""What the model sees of a file: the text before and behind the cursor, cut so that it changes rarely.

The first line moves in jumps. A window that slid by a line with each Enter would begin elsewhere each time, and
everything in it would be evaluated again: that is the worst case of llama-server's `/infill`, 6 s a key on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass

from threadrunner.lsp.suggest.documents import Document, Place, split_lines

JUMP_LINES = 32
JUMP_CHARS = 1024  # of a line that is longer than the whole window, say in minified code


@dataclass(frozen=True)
class TextWindow:
    """Lines end with LF in here, whatever ends them in the file."""

    prefix: str
    suffix: str
    first: Place
    """Where the prefix begins; (0, 0): with the file."""
    whole_suffix: bool
    """Nothing of the file stands below the suffix."""

    @property
    def head(self) -> str:
        """The cursor's line up to the cursor."""
        return self.prefix[self.prefix.rfind("\n") + 1 :]

    @property
    def tail(self) -> str:
        """The rest of the cursor's line."""
        return self.suffix.partition("\n")[0]

    @property
    def whole_prefix(self) -> bool:
        return self.first == Place(0, 0)


def around(document: Document, place: Place, prefix_chars: int, suffix_chars: int) -> TextWindow:
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


def preceding_lines(prefix: str, count: int) -> str:
    """The last whole lines of a prefix and the line under way."""
    return "".join(split_lines(prefix)[-count - 1 :])
