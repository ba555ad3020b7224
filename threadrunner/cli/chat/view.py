"""An answer on the terminal as it is written: Markdown, block by block.

A block that is complete is printed once; only the one being written is redrawn, and of that only as much as fits the
screen, because a terminal cannot change what has scrolled away.
"""

from __future__ import annotations

import io
import sys

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment, Segments

from threadrunner.cli import render

FRAMES = 8  # per second: more flickers on slow terminals and takes time from the model
TAIL_CHARS = 8000


def console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a locale without UTF-8 has no … and no ü
    return Console(file=sys.stdout, highlight=False, soft_wrap=False)


def settled(text: str) -> int:
    """How many characters of `text` are complete blocks, which nothing that follows can change."""
    end = offset = 0
    fence = ""
    blank = False
    for line in text.split("\n"):
        stripped = line.lstrip()
        if fence:
            if stripped.startswith(fence) and not stripped.strip(fence[0] + " "):
                fence = ""
        elif stripped.startswith(("```", "~~~")):
            if blank:
                end = offset
            fence = stripped[: len(stripped) - len(stripped.lstrip(stripped[0]))]
        elif blank and line and not line[0].isspace() and not _continues(line):
            end = offset
        blank = not fence and not stripped
        offset += len(line) + 1
    return end


def _continues(line: str) -> bool:
    """Whether `line` is a list's item: after a blank line it still belongs to the block before."""
    head = line.split(maxsplit=1)[0]
    return head in ("-", "*", "+") or head.rstrip(".)").isdigit()


class AnswerView:
    """Takes the answer piece by piece; `finish` leaves all of it on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = ""
        self._live: Live | None = None

    def write(self, text: str) -> None:
        self._text += render.printable(text)
        complete = settled(self._text) if "\n" in text else 0
        if complete:
            self._stop()
            self._console.print(_markdown(self._text[:complete]))
            self._console.print()
            self._text = self._text[complete:]
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=FRAMES, transient=True)
            self._live.start()
        self._live.update(_Tail(self._text))

    def finish(self) -> None:
        self._stop()
        if self._text.strip():
            self._console.print(_markdown(self._text))
        self._text = ""

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Tail:
    """The end of a block, as much as fits the screen."""

    def __init__(self, text: str) -> None:
        # A block of many screens would be parsed again for each frame; what has scrolled away is printed at the end.
        self._text = text if len(text) <= TAIL_CHARS else text[text.find("\n", -TAIL_CHARS) + 1 :][-TAIL_CHARS:]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(_markdown(self._text), options.update(height=None), pad=False)
        for line in lines[-max(1, options.size.height - 2) :]:
            yield Segments([*line, Segment.line()])


def _markdown(text: str) -> Markdown:
    return Markdown(text.strip("\n"), hyperlinks=False, code_theme="ansi_dark")
