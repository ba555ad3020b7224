"""Open documents: lines of text, changed as the client reports, and positions in the client's units.

Ours instead of pygls's: that one splits lines with str.splitlines(), so a form feed or U+2028 in a file shifts every
later position, and it joins the whole text again for each key. A line here ends at LF, CRLF or CR and nowhere else,
as LSP defines it, and a key costs what the changed lines cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

UTF8 = "utf-8"
UTF16 = "utf-16"
UTF32 = "utf-32"

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_WORD_BEFORE = re.compile(r"\w*\Z")


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
    lines = _LINE.findall(text)
    if not lines or lines[-1][-1] in "\r\n":
        lines.append("")
    return lines


def without_end(line: str) -> str:
    return line.rstrip("\r\n")


def to_column(line: str, units: int, encoding: str) -> int:
    """The column of the character that begins at or covers this unit; past the line's end: its end, as LSP requires."""
    body = without_end(line)
    if encoding == UTF32 or body.isascii():
        return max(0, min(units, len(body)))
    column = 0
    for character in body:
        units -= _size(character, encoding)
        if units < 0:
            break
        column += 1
    return column


def to_units(line: str, column: int, encoding: str) -> int:
    """The column in the encoding's units: bytes, UTF-16 code units or characters."""
    head = line[:column]
    if encoding == UTF32 or head.isascii():
        return len(head)
    return sum(_size(character, encoding) for character in head)


def _size(character: str, encoding: str) -> int:
    code = ord(character)
    if encoding == UTF16:
        return 2 if code > 0xFFFF else 1
    return 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4


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
    lines: list[str] = field(init=False)
    focus: Place = field(init=False, default=Place(0, 0))
    """Where it was last edited or completed."""

    def __post_init__(self) -> None:
        self.lines = split_lines(self.text)
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
        match = _WORD_BEFORE.search(self.head(place))
        return Place(place.line, match.start() if match else place.column)

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
            self.lines = split_lines(text)
            return
        start, end = sorted((self.place(span.start), self.place(span.end)))
        head, tail = self.lines[start.line][: start.column], self.lines[end.line][end.column :]
        # Neighbours are split again too: a CR and an LF that are now side by side are one line end.
        first, last = max(0, start.line - 1), min(len(self.lines), end.line + 2)
        before, after = self.lines[first : start.line], self.lines[end.line + 1 : last]
        fresh = split_lines("".join([*before, head, text, tail, *after]))
        if last < len(self.lines):
            del fresh[-1]  # the empty rest behind the last line end: the next line begins there
        self.lines[first:last] = fresh
        grown = split_lines(head + text)
        self.focus = Place(min(start.line + len(grown) - 1, len(self.lines) - 1), len(grown[-1]))


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
