"""A line for each request: who, what model, how many tokens, how it ended. Never a word of what was said."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os

import msgspec

from threadrunner.http.asking import Asking
from threadrunner.system import files

log = logging.getLogger("threadrunner.http")

_PATH = 200  # letters of a path, which a client writes as it likes


class Audit:
    """Appends JSON lines to a file of mode 0600, and makes it anew where it was moved away (logrotate)."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self._path = path
        self._said = False
        self._descriptor = self._open()

    def write(self, asking: Asking, address: str, method: str, path: str, status: int, seconds: float) -> None:
        """A disk that is full does not end the service; it is said once."""
        line = msgspec.json.encode(
            {
                "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
                "key": asking.holder.name if asking.holder else None,
                "from": address,
                "request": f"{method} {path[:_PATH]}",
                "status": status,
                "model": asking.model or None,
                "prompt_tokens": asking.prompt,
                "cached_tokens": asking.cached,
                "completion_tokens": asking.completion,
                "seconds": round(seconds, 3),
            }
        )
        try:
            self._find()
            os.write(self._descriptor, line + b"\n")
            self._said = False
        except OSError as error:
            if not self._said:
                log.error("the audit cannot be written to %s: %s", self._path, error.strerror)
            self._said = True

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | files.OWN
        return os.open(self._path, flags, 0o600)

    def _find(self) -> None:
        """Open the file again where another, or none, is under its name."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino:
                return
        descriptor = self._open()
        os.close(self._descriptor)
        self._descriptor = descriptor
