"""What Ray says, in words for a user. Pure."""

from __future__ import annotations

import re

_MARKS = "⟦", "⟧"


def marked(text: str) -> str:
    """Our own words, to be found again inside of Ray's: it shows an error as a trace within a trace."""
    return f"{_MARKS[0]}{text}{_MARKS[1]}"


def unmarked(message: str) -> str:
    """The last of our own words in a message of Ray's; where it has none, its last line that says something."""
    ours = re.findall(f"{_MARKS[0]}(.*?){_MARKS[1]}", message, re.DOTALL)
    if ours:
        return str(ours[-1])
    lines = [line.strip() for line in message.splitlines() if line.strip(" ^~")]
    return lines[-1][:500] if lines else ""
