"""Text around a cursor, and how far a line is indented: what several modules ask of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CursorText:
    """The text before and behind a cursor. Lines end with LF."""

    prefix: str
    suffix: str

    @property
    def head(self) -> str:
        """The cursor's line up to the cursor."""
        return self.prefix[self.prefix.rfind("\n") + 1 :]

    @property
    def tail(self) -> str:
        """The rest of the cursor's line."""
        return self.suffix.partition("\n")[0]


def indent_width(line: str, tab_width: int = 1) -> int:
    """Columns of white space that the line begins with; a tab goes on to the next multiple of `tab_width`."""
    blank = line[: len(line) - len(line.lstrip())]  # first: the line may be a whole minified file
    return len(blank.expandtabs(tab_width))
