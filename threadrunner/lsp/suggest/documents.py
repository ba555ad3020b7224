"""Open documents: lines of text, changed as the client reports, and positions in the client's units.

Ours instead of pygls's: that one splits lines with str.splitlines(), so a form feed or U+2028 in a file shifts every
later position, and it joins the whole text again for each key. A line here ends at LF, CRLF or CR and nowhere else,
as LSP defines it, and a key costs what the changed lines cost.

A line may be a whole minified file: 1 MB with one emoji in it cost 0.6 s a key where its characters were counted in
Python, and a word of 40,000 characters 12 s where a regular expression looked for its beginning. Whatever is as long as
a line is done here by `bytes` and `str`; a loop of our own sees WORD_LIMIT characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

UTF8 = "utf-8"
UTF16 = "utf-16"
UTF32 = "utf-32"

WORD_LIMIT = 256
"""Characters of a word that is being typed, at most; a longer one is data."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_CODECS = {UTF8: "utf-8", UTF16: "utf-16-le"}


class Position(Protocol):
    """A zero-based line, and a column in the client's units."""

    @property
    def line(self) -> int: ...
    @property
    def character(self) -> int: ...


class Range(Protocol):
    """From a position up to another one."""

    @property
    def start(self) -> Position: ...
    @property
    def end(self) -> Position: ...


@dataclass(frozen=True, order=True)
class Place:
    """A place in a document: a zero-based line, and a column in characters."""

    line: int
    column: int


def split_lines(text: str) -> list[str]:
    """Lines with their ends. The last one has no end and may be empty: a text has one line more than line ends."""
    if "\r" not in text:  # several times faster than the expression, which a long line feels
        *whole, rest = text.split("\n")
        return [*(f"{line}\n" for line in whole), rest]
    lines = _LINE.findall(text)
    if not lines or lines[-1][-1] in "\r\n":
        lines.append("")
    return lines


def without_end(line: str) -> str:
    return line.rstrip("\r\n") if line.endswith(("\n", "\r")) else line


def to_column(line: str, units: int, encoding: str) -> int:
    """The column of the character that begins at or covers this unit; past the line's end: its end, as LSP requires."""
    size = len(without_end(line))
    head = line[: max(0, min(units, size))]  # a character has at least one unit
    if encoding == UTF32 or head.isascii():
        return len(head)
    width = 2 if encoding == UTF16 else 1
    cut = head.encode(_CODECS[encoding], "surrogatepass")
    end = min(len(cut), units * width)
    while end > 0 and _inside(cut, end, encoding):
        end -= width
    return len(cut[:end].decode(_CODECS[encoding], "surrogatepass"))


def _inside(encoded: bytes, at: int, encoding: str) -> bool:
    """Whether this byte belongs to the character before it."""
    if at >= len(encoded):
        return False
    if encoding == UTF8:
        return encoded[at] & 0xC0 == 0x80
    return encoded[at + 1] & 0xFC == 0xDC and encoded[at - 1] & 0xFC == 0xD8


def to_units(line: str, column: int, encoding: str) -> int:
    """The column in the encoding's units: bytes, UTF-16 code units or characters."""
    head = line[:column]
    if encoding == UTF32 or head.isascii():
        return len(head)
    return len(head.encode(_CODECS[encoding], "surrogatepass")) // (2 if encoding == UTF16 else 1)


def joined(text: str) -> str:
    """The text with each high surrogate and the low one behind it as one character: an editor that counts in UTF-16 may
    replace half of a character, or insert it in halves."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")  # fails at the first surrogate, and costs less than a search
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def sound(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which no message to the daemon can hold."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


@dataclass
class Document:
    """A file as the client has it, saved or not."""

    uri: str
    path: str
    """Its absolute path; empty for one that is not on disk yet."""
    language: str
    version: int | None
    text: str
    encoding: str = UTF16
    name: str = ""
    """The path that it is judged by (which files get suggestions): its own, or what its URI names in any scheme."""
    lines: list[str] = field(init=False)
    focus: Place = field(init=False, default=Place(0, 0))
    """Where it was last edited or completed."""

    def __post_init__(self) -> None:
        self.name = self.name or self.path
        self.lines = split_lines(joined(self.text))
        self.text = ""  # from here on the lines are the text

    def __repr__(self) -> str:
        return f"<Document {self.uri} v{self.version} {len(self.lines)} lines>"

    def whole(self) -> str:
        return "".join(self.lines)

    @property
    def line_end(self) -> str:
        """What ends this document's lines: that of its first line."""
        first = self.lines[0]
        return first[len(without_end(first)) :] or "\n"

    def place(self, position: Position) -> Place:
        """Where a client's position is; one past the end of the line or of the document is its end."""
        if position.line >= len(self.lines):
            return Place(len(self.lines) - 1, len(without_end(self.lines[-1])))
        line = max(0, position.line)
        return Place(line, to_column(self.lines[line], position.character, self.encoding))

    def units(self, place: Place) -> tuple[int, int]:
        """Line and character as the client counts."""
        return place.line, to_units(self.lines[place.line], place.column, self.encoding)

    def head(self, place: Place) -> str:
        """The line up to the place."""
        return self.lines[place.line][: place.column]

    def tail(self, place: Place) -> str:
        """The line from the place on, without its end."""
        return without_end(self.lines[place.line])[place.column :]

    def word_start(self, place: Place) -> Place:
        """Where the word begins that is being typed; the place itself after anything but a word."""
        first = max(0, place.column - WORD_LIMIT)
        near = self.lines[place.line][first : place.column]
        at = len(near)
        while at and (near[at - 1].isalnum() or near[at - 1] == "_"):
            at -= 1
        return place if first and not at else Place(place.line, first + at)

    def with_line_ends(self, text: str) -> str:
        """A text whose lines end with LF, with this document's line ends."""
        return text if self.line_end == "\n" else text.replace("\n", self.line_end)

    def between(self, start: Place, end: Place) -> str:
        if start.line == end.line:
            return self.lines[start.line][start.column : end.column]
        middle = self.lines[start.line + 1 : end.line]
        return "".join([self.lines[start.line][start.column :], *middle, self.lines[end.line][: end.column]])

    def change(self, span: Range | None, text: str) -> None:
        """Replace a range, or everything."""
        if span is None:
            self.lines = split_lines(joined(text))
            return
        (start, head, _), (end, _, tail) = sorted((self._cut(span.start), self._cut(span.end)))
        # Neighbours are split again too: a CR and an LF that are now side by side are one line end.
        first, last = max(0, start - 1), min(len(self.lines), end + 2)
        before, after = self.lines[first:start], self.lines[end + 1 : last]
        grown = split_lines(joined(head + text))
        fresh = split_lines(joined("".join([*before, head, text, tail, *after])))
        if last < len(self.lines):
            del fresh[-1]  # the empty rest behind the last line end: the next line begins there
        self.lines[first:last] = fresh
        self.focus = Place(min(start + len(grown) - 1, len(self.lines) - 1), len(grown[-1]))

    def _cut(self, position: Position) -> tuple[int, str, str]:
        """The position's line, and its text before and from there on; through a character of two UTF-16 units too."""
        place = self.place(position)
        line, column = self.lines[place.line], place.column
        body = column < len(without_end(line))
        if self.encoding == UTF16 and body and to_units(line, column, UTF16) < position.character:
            high, low = line[column].encode("utf-16-le")[:2], line[column].encode("utf-16-le")[2:]
            halves = [half.decode("utf-16-le", "surrogatepass") for half in (high, low)]
            return place.line, line[:column] + halves[0], halves[1] + line[column + 1 :]
        return place.line, line[:column], line[column:]


class Documents:
    """The open documents by URI, the last used at the end."""

    def __init__(self) -> None:
        self._open: dict[str, Document] = {}

    def __contains__(self, uri: str) -> bool:
        return uri in self._open

    def __iter__(self) -> Iterator[Document]:
        return iter(list(self._open.values()))

    def get(self, uri: str) -> Document | None:
        return self._open.get(uri)

    def open(self, document: Document) -> None:
        self._open.pop(document.uri, None)
        self._open[document.uri] = document

    def close(self, uri: str) -> Document | None:
        return self._open.pop(uri, None)

    def touch(self, document: Document) -> None:
        """This document is in use now."""
        self._open[document.uri] = self._open.pop(document.uri)
