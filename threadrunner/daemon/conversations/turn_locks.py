"""Which turns are being answered, by any daemon: byte N of a file beside the conversations' is locked while turn N is.

Two daemons may have one home (a desktop's and cron's, each with its own socket). The kernel lets go of a process's
locks when it ends, however it ends: an open turn whose byte is free was lost with its daemon, all others are not ours
to touch.
"""

from __future__ import annotations

import contextlib
import os

from threadrunner.system import files, locks


class TurnLocks:
    """The locks of this process. Not for two objects on one file in one process: closing one would free all."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | files.OWN | files.NOFOLLOW, 0o600)
        self._ours: set[int] = set()

    def hold(self, turn: int) -> None:
        """From now on the turn is being answered here."""
        self._ours.add(turn)
        self._lock(turn)

    def release(self, turn: int) -> None:
        """The turn has ended, or its end could not be written."""
        if turn in self._ours:
            self._ours.discard(turn)
            self._unlock(turn)

    def ours(self, turn: int) -> bool:
        return turn in self._ours

    def held(self, turn: int) -> bool:
        """Whether a daemon that lives is answering it."""
        if turn in self._ours:
            return True
        if not self._lock(turn):
            return True
        self._unlock(turn)
        return False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self, turn: int) -> bool:
        try:
            return locks.try_hold_byte(self._fd, turn)
        except OSError:  # a file system without locks: as if there were one daemon only
            return True

    def _unlock(self, turn: int) -> None:
        with contextlib.suppress(OSError):
            locks.release_byte(self._fd, turn)
