"""What the model thinks aloud, on standard error: dim, or hidden behind a line that says that it thinks. Never on
standard output, whatever that is."""

from __future__ import annotations

import os

from threadrunner.cli import render, request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def shown(how: str | None) -> bool:
    """Whether it is shown, by what --thinking says, else by the environment, else where a person sees it beside the
    answer. Raises UsageError."""
    how = how or request.thinking()
    return how == "show" if how else os.isatty(1) and os.isatty(2)


def param(how: str) -> str:
    """The param `reasoning` for --thinking."""
    return "off" if how == "off" else "split"


class Thought:
    """Takes the pieces of an answer that are no text. Each write leaves the terminal as it was, since the process may
    end after any of them."""

    def __init__(self, show: bool, progress: render.ProgressLine) -> None:
        self._show = show
        self._progress = progress
        self._terminal = os.isatty(2)
        plain = not self._terminal or os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR")
        self._dim = "{}" if plain else "\x1b[2m{}\x1b[22m"
        self._line_open = False
        self._counts: dict[str, int] = {}

    def piece(self, payload: dict[str, Any]) -> None:
        """A token's payload that has a `kind`. Calls are shown when they are complete."""
        kind = payload["kind"]
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if kind == "reasoning" and self._show:
            self.write(payload["text"])
        else:
            self._progress.show(kind, self._counts[kind], 0)

    def write(self, text: str) -> None:
        if self._show and text:
            self._progress.finish()
            # before the write: Ctrl-C may come between the two
            self._line_open = not text.endswith("\n")
            self._put(self._dim.format(render.printable(text) if self._terminal else text))

    def end(self) -> None:
        """The answer begins, or there is none: it has lines of its own, and a blank one before it where a person reads
        both."""
        self._progress.finish()
        if self._counts.pop("reasoning", 0) and self._show:
            self._put("\n" * (self._line_open + (self._terminal and os.isatty(1))))
        self._line_open = False

    def break_off(self) -> None:
        if self._line_open and self._terminal:
            self._line_open = False
            self._put("\n")

    def _put(self, text: str) -> None:
        try:  # noqa: SIM105 - that standard error is closed is no error
            render.put(2, text)
        except OSError:
            pass
