"""numpy, where it is loaded already: that takes 60 ms, which no first token should wait for, and 10 MB."""

from __future__ import annotations

import sys


def ready() -> bool:
    """Whether it is there."""
    return "numpy" in sys.modules


def prepare() -> None:
    """In idle time: load it."""
    if not ready():
        import numpy  # noqa: F401
