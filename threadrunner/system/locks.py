"""Locks on files: held by a process, and let go of by the kernel when it ends, however it ends.

POSIX has two kinds, for a whole file (flock) and for bytes of it (lockf). Windows has one, which also keeps others from
reading those bytes: a whole file is locked there by one byte far behind its end, where nothing is ever read.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class OpenFile(Protocol):
        """What has a descriptor."""

        def fileno(self) -> int: ...


if sys.platform == "win32":
    import msvcrt
    import time

    _WHOLE = 0x7FFF_FF00  # msvcrt counts in 31 bits
    _LOOK_AGAIN = 0.05  # seconds: its own blocking lock gives up after ten tries, a second apart

    def _fd(file: int | OpenFile) -> int:
        return file if isinstance(file, int) else file.fileno()

    def _take(fd: int, at: int) -> bool:
        os.lseek(fd, at, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def hold(file: int | OpenFile) -> None:
        """Wait for the file's lock, and have it until the file is closed. Raises OSError."""
        while not try_hold(file):
            time.sleep(_LOOK_AGAIN)

    def try_hold(file: int | OpenFile) -> bool:
        """The same without waiting; False where another process has it. Raises OSError."""
        place = os.lseek(_fd(file), 0, os.SEEK_CUR)
        try:
            return _take(_fd(file), _WHOLE)
        finally:
            os.lseek(_fd(file), place, os.SEEK_SET)

    def try_hold_byte(fd: int, number: int) -> bool:
        """The lock of one byte of a file; False where another process has it. Raises OSError."""
        return _take(fd, number)

    def release_byte(fd: int, number: int) -> None:
        """Raises OSError."""
        os.lseek(fd, number, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def hold(file: int | OpenFile) -> None:
        """Wait for the file's lock, and have it until the file is closed. Raises OSError."""
        fcntl.flock(file, fcntl.LOCK_EX)

    def try_hold(file: int | OpenFile) -> bool:
        """The same without waiting; False where another process has it. Raises OSError."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def try_hold_byte(fd: int, number: int) -> bool:
        """The lock of one byte of a file; False where another process has it. Raises OSError."""
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release_byte(fd: int, number: int) -> None:
        """Raises OSError."""
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, number)


def is_held(path: str) -> bool:
    """Whether a process holds the lock of the file at `path`."""
    try:
        with open(path, "r+b") as file:
            return not try_hold(file)
    except OSError:
        return False
