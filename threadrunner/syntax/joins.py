"""Whether a text at a cursor has to join what stands behind it on the line. Pure."""

from __future__ import annotations

import re

LONGEST = 200
"""Characters; a longer rest of a line is more than closers."""

_CLOSERS_ALONE = re.compile(r"[\s)\]}>;,:{\"'`]*\Z")


def must_join(tail: str) -> bool:
    """Whether the rest of the cursor's line is more than closers, to which a text may lead in several lines."""
    return len(tail) > LONGEST or not _CLOSERS_ALONE.match(tail)


def closers_alone(line: str) -> bool:
    """Whether the line has closing brackets, what ends a statement, and nothing else."""
    return bool(line) and not line.strip(")]};, \t")
