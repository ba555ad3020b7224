"""Where an infilled middle ends. An instruct model hardly ever stops by itself: its raw output passes 4 % of the
benchmark's problems, cut by these rules more than 40 %."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

BLANK_RUN = "\n\n\n"
_TOP_LEVEL = re.compile(r"\n(?:def|class|if __name__|print\(|#) ?")
_LONGEST_TOP_LEVEL = 16


class MiddleEnds:
    """Cuts where the text begins to repeat the suffix, at a new top-level definition, at a run of blank lines, or where
    a line is indented less than both the cursor's line and the line below."""

    def __init__(self, head: str, suffix: str) -> None:
        """`head` is the cursor's line up to the cursor."""
        rest_of_line, _, below = suffix.partition("\n")
        rest = rest_of_line.rstrip()
        self._at_line_end = not rest and bool(suffix)
        # a single bracket is frequent: it is the suffix only where it ends the line
        self._rest, self._bracket = (rest, "") if len(rest.strip()) >= 2 else ("", rest)
        self._next = next((line.rstrip() for line in below.split("\n") if line.strip()), "")
        self._min_indent = min(_indent(head), _indent(self._next)) if self._next else min(_indent(head), 1)

    def cut(self, text: str) -> int | None:
        cuts = [text.find(BLANK_RUN)]
        if self._rest:
            cuts.append(text.find(self._rest))
        if self._bracket and (line := text.partition("\n")[0]) != text and line.rstrip().endswith(self._bracket):
            cuts.append(len(line.rstrip()) - len(self._bracket))
        if top := _TOP_LEVEL.search(text):
            cuts.append(top.start())
        cuts.append(self._line_cut(text))
        end = min((at for at in cuts if at >= 0), default=None)
        return None if end is None else self.trim(text[:end])

    def _line_cut(self, text: str) -> int:
        """The line break before the first line that does not belong, or -1."""
        at = text.find("\n")
        while at >= 0:
            end = text.find("\n", at + 1)
            line = text[at + 1 : end if end >= 0 else len(text)]
            if line.rstrip() == self._next and self._next:
                return at
            if line.strip() and _indent(line) < self._min_indent:
                return at
            at = end
        return -1

    def safe(self, text: str) -> int:
        end = len(text)
        begin = text.rfind("\n") + 1
        line = text[begin:]
        if begin and not (line.strip() and not self._next.startswith(line) and not self._may_be_top_level(line)):
            end = len(text[:begin].rstrip("\n"))
        rest = self._rest or ("" if begin else self._bracket)
        for overlap in range(min(len(rest), len(text)), 0, -1):
            if text.endswith(rest[:overlap]):
                return min(end, len(text) - overlap)
        return end

    def trim(self, text: str) -> int:
        return len(text.rstrip("\n")) if self._at_line_end else len(text)

    @staticmethod
    def _may_be_top_level(line: str) -> bool:
        return not line[0].isspace() and len(line) < _LONGEST_TOP_LEVEL


class TimeBudget:
    """Past the deadline, the text ends with the line that it is in."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._deadline = now() + seconds
        self._seen = 0

    def cut(self, text: str) -> int | None:
        if self._now() < self._deadline:
            self._seen = len(text)
            return None
        at = text.find("\n", max(1, self._seen))
        return at if at >= 0 else None

    def trim(self, text: str) -> int:
        return len(text)

    def safe(self, text: str) -> int:
        # a line break that is the last thing so far may turn out to be the end
        return len(text) - 1 if text.endswith("\n") else len(text)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))
