"""The C library that this process has loaded."""

from __future__ import annotations

import ctypes
import sys
from typing import Any


def c_library() -> Any:
    """Its functions, as ctypes has them."""
    if sys.platform == "win32":
        return ctypes.cdll.msvcrt
    return ctypes.CDLL(None)
