"""One line, once for each home: the default model is the smallest, and a better one is three keys away."""

from __future__ import annotations

import os

from threadrunner import paths
from threadrunner.cli import render

SMALLEST = "smollm2:135m"


def better_model() -> None:
    """Say it, unless it has been said: the file that remembers is made first, so that two shells say it once."""
    try:
        os.close(os.open(os.path.join(paths.home(), ".setup-suggested"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError:  # it is there, or cannot be made: then it would be said each time
        return
    render.say(f"{SMALLEST} is small enough for every machine, and it shows. `threadrunner setup` finds a better one")
