"""Flags and calls for files that not every system has."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import threading

    OWN, NOFOLLOW, NONBLOCK, DIRECTORY = os.O_NOINHERIT | os.O_BINARY, 0, 0, 0
    _seeking = threading.Lock()

    def pread(fd: int, count: int, offset: int) -> bytes:
        """`count` bytes from `offset` on. Two threads may do it at once; the file's place is then no one's."""
        with _seeking:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, count)

else:
    OWN, NOFOLLOW, NONBLOCK, DIRECTORY = os.O_CLOEXEC, os.O_NOFOLLOW, os.O_NONBLOCK, os.O_DIRECTORY
    """Flags of os.open. OWN is for every file of ours: no child inherits it, and its bytes are those that were written
    (Windows would make two of a newline). Windows lacks the others: its folders hold no named pipes, and links are made
    there by administrators only."""
    pread = os.pread


def unnamed(title: str) -> int:
    """A descriptor of an empty file without a name, for memory that two processes share. Raises OSError."""
    if sys.platform == "linux" and hasattr(os, "memfd_create"):  # a Python that was built for an old libc lacks it
        return os.memfd_create(title)  # `title` is for those who look into /proc
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def has_lost_reader(fd: int) -> bool:
    """Whether no process reads what we write there any more; Windows tells that at the next write only."""
    if sys.platform == "win32":
        return False
    import select

    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


def free_bytes(folder: str) -> int:
    """Bytes that we may still write there. Raises OSError."""
    import shutil

    return shutil.disk_usage(folder).free
