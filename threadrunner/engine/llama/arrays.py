"""numpy, where it is loaded already: that takes 60 ms, which no first token should wait for, and 10 MB."""

from __future__ import annotations

import sys

_loaded = False


def ready() -> bool:
    """Whether it is there, and whole: who asks for it while another thread loads it waits for that."""
    global _loaded
    if not _loaded and (numpy := sys.modules.get("numpy")) is not None:
        _loaded = not getattr(numpy.__spec__, "_initializing", False)  # as importlib has it
    return _loaded


def prepare() -> None:
    """In idle time: load it."""
    if not ready():
        import numpy  # noqa: F401
