"""One file per command, of its name: `arguments` declares its options, `run` returns its exit code."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def import_command(name: str) -> ModuleType:
    """The module of one of `flags.COMMANDS`, with `arguments(parser)` and `run(options)`."""
    return importlib.import_module(f"{__name__}.{name}")
