"""What one engine takes at once."""

from __future__ import annotations

from dataclasses import dataclass

MAX_RUNNING = 16


@dataclass(frozen=True, slots=True)
class Limits:
    context: int
    """Maximum tokens of one sequence."""
    cells: int = 0
    """To which the context's cells may grow."""
    max_running: int = MAX_RUNNING
    """Sequences."""
    max_queued: int = 64
    """Requests."""
