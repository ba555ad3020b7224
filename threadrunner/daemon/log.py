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
from threadrunner.system import files

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
            if self._day != datetime.date.today() or not self._kept():
                self._begin_day()
            os.write(self._fd, (self._line(record) + "\n").encode("utf-8", "backslashreplace"))

    def _line(self, record: logging.LogRecord) -> str:
        """A line that cannot be made must not end what it was to tell of."""
        try:
            return self.format(record)
        except Exception as error:
            return f"{record.levelname} {record.name}: {record.msg!r} with {record.args!r}: {error!r}"

    def _kept(self) -> bool:
        """Whether the file is still there: one that a tidy-up removed takes lines that nobody will ever read."""
        return os.fstat(self._fd).st_nlink > 0

    def _begin_day(self) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | files.OWN, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._day = fd, datetime.date.today()
        # Those of days to come were written while the clock was wrong; they must not push today's out.
        logs = sorted(self._folder.glob(f"{LOG_PREFIX}????-??-??{LOG_SUFFIX}"))
        for old in [file for file in logs if file.name <= self.path.name][: -self._days]:
            old.unlink(missing_ok=True)


def begin(folder: str, config: options.Config) -> DailyFile:
    """Send the package's log to daily files in `folder`, and to stderr where that is a terminal."""
    file = DailyFile(Path(folder), max(1, config.log_days))
    handlers: list[logging.Handler] = [file]
    if sys.stderr is not None and sys.stderr.isatty():
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
