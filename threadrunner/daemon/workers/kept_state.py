"""The KV state that a model's workers saved, which has the tokens of conversations in it. Blocking."""

from __future__ import annotations

import logging
import os

from threadrunner.paths import state_dir

log = logging.getLogger("threadrunner.daemon.fleet")


def forget(cache_dir: str, model: str) -> None:
    """Delete it with its model: no other can use it, and nothing else would delete it."""
    folder = state_dir(cache_dir, model)
    try:
        for name in os.listdir(folder):
            if name.endswith((".kv", ".tmp")):
                os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("the saved KV state of %s is not deleted: %s", model, error)
