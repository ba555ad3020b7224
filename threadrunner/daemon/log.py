"""The daemon's log: a file a day, old ones removed, readable by this user only."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
from pathlib import Path

from threadrunner import config as options
from threadrunner.paths import LOG_PREFIX, LOG_SUFFIX

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class DailyFile(logging.Handler):
    """Appends to today's file; removes those older than `days` when a new day's is begun."""

    def __init__(self, folder: Path, days: int) -> None:
        super().__init__()
        self._folder = folder
        self._days = days
        self._day: datetime.date | None = None
        self._fd = -1

    @property
    def path(self) -> Path:
        return self._folder / f"{LOG_PREFIX}{datetime.date.today().isoformat()}{LOG_SUFFIX}"

    def emit(self, record: logging.LogRecord) -> None:
        # A full disk must not stop the daemon; logging.raiseExceptions would print to a stderr that may not exist.
        with contextlib.suppress(OSError):
            if self._day != datetime.date.today():
                self._begin_day()
            os.write(self._fd, (self.format(record) + "\n").encode("utf-8", "backslashreplace"))

    def _begin_day(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._day = datetime.date.today()
        for old in sorted(self._folder.glob(f"{LOG_PREFIX}????-??-??{LOG_SUFFIX}"))[: -self._days]:
            old.unlink(missing_ok=True)


def begin(folder: str, config: options.Config) -> DailyFile:
    """Send the package's log to daily files in `folder`, and to stderr where that is a terminal."""
    file = DailyFile(Path(folder), max(1, config.log_days))
    handlers: list[logging.Handler] = [file]
    if sys.stderr.isatty():
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
        logging.getLogger().addHandler(handler)
    set_levels(config.log)
    return file


def set_levels(spec: str) -> None:
    """`warning,threadrunner.daemon=debug`, as config.log_levels reads it; it has been checked."""
    for name, level in options.log_levels(spec).items():
        logging.getLogger(name).setLevel(level)
