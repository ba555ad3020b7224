"""numpy, where it is loaded already: that takes 60 to 90 ms, which no first token should wait for, and 10 to 16 MB."""

from __future__ import annotations

import gc
import logging
import os
import sys

log = logging.getLogger("threadrunner.engine")

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads are for products of matrices: we make none

_loaded = _failed = False


def ready() -> bool:
    """Whether it is there, and whole: who asks for it while another thread loads it waits for that."""
    global _loaded
    if not _loaded and (numpy := sys.modules.get("numpy")) is not None:
        _loaded = not getattr(numpy.__spec__, "_initializing", False)  # as importlib has it
    return _loaded


def prepare() -> None:
    """In idle time: load it. Where it cannot be loaded, say on a processor that it was not built for, all that does
    not need it goes on."""
    global _failed
    if _failed or ready():
        return
    try:
        import numpy  # noqa: F401
    except Exception as error:
        _failed = True
        log.warning("numpy cannot be loaded: %s", error)
    else:
        gc.collect()
        gc.freeze()  # its modules are not garbage either: see worker/loop.py
